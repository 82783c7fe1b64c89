"""The mutants fit the tree and name checks that exist; `make mutants` runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conversations.management.commands.faultlab import Command, choose
from scripts import mutants
from scripts.mutants import LAB, ROOT, Mutant, apply, judge_report, judge_rows, read_mutants

MUTANTS = read_mutants()
PATCH = """What it breaks.
Check: tests/test_x.py::test_x

diff --git a/x b/x
--- a/x
+++ b/x
@@ -1,1 +1,1 @@
-one
+two
"""


def test_there_are_at_least_ten_and_some_are_seen_by_the_lab() -> None:
    assert len(MUTANTS) >= 10
    assert sum(one.check.startswith(LAB) for one in MUTANTS) >= 4


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies(mutant: Mutant) -> None:
    assert apply(mutant.patch, ROOT, "--check") == ""


def test_the_tests_that_they_name_exist() -> None:
    ids = [one.check for one in MUTANTS if not one.check.startswith(LAB)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *ids],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_faults_that_they_name_exist() -> None:
    parser = Command().create_parser("manage.py", "faultlab")
    for mutant in MUTANTS:
        if mutant.check.startswith(LAB):
            options = parser.parse_args(mutant.check.removeprefix(LAB).split())
            assert len(choose(options.faults)) == 1
            # One run, the same each time.
            assert len(options.setups) == 1
            assert options.seed is not None


def test_a_patch_applies_or_says_why_not(tmp_path: Path) -> None:
    patch = tmp_path / "x.patch"
    patch.write_text(PATCH)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "x").write_text("one\n")
    assert apply(patch, tree) == ""
    assert (tree / "x").read_text() == "two\n"
    assert "patch does not apply" in apply(patch, tree)


def test_a_patch_names_one_check(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(PATCH)
    assert [(one.name, one.check) for one in read_mutants(tmp_path)] == [
        ("x", "tests/test_x.py::test_x")
    ]
    (tmp_path / "y.patch").write_text(PATCH.replace("Check: ", "Checks: "))
    with pytest.raises(ValueError, match=r"y\.patch names 0 checks"):
        read_mutants(tmp_path)


FINDING = """
def test_assertion():
    assert 1 == 2

def test_exception():
    with pytest.raises(ValueError):
        pass

def test_wait():
    raise TimeoutError
"""


@pytest.mark.parametrize(
    ("body", "colour"),
    [
        (FINDING, "red"),
        (f"{FINDING}\ndef test_crash(): undefined", "broken"),
        ("import nowhere", "broken"),
    ],
)
def test_only_what_a_test_asserts_turns_it_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, colour: str
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    (tmp_path / "test_x.py").write_text(f"import pytest\n{body}\n")
    assert mutants.run_checks(["test_x.py"], tmp_path).colour == colour


def test_an_error_outside_the_test_is_not_red() -> None:
    case = '<testcase name="x">{}</testcase>'
    failure = '<failure message="assert 0" />'
    error = '<error message="failed on setup" />'
    assert judge_report(case.format(failure)) == ("red", "x: assert 0")
    assert judge_report(case.format("")) == ("green", "")
    assert judge_report(case.format("<skipped />")) == ("broken", "nothing was run")
    assert judge_report(case.format(failure + error))[0] == "broken"


def test_a_run_of_the_lab_that_could_not_be_played_is_not_red() -> None:
    row = '[{{"runs": {}, "lost": 0, "doubled": 9, "reordered": 0, "passed": {}}}]'
    said = "F1 sqlite FAILED in 3 s\n    s00: something\n"
    assert judge_rows(said + row.format(20, "true")) == ("green", "")
    found = ("red", "0 lost, 9 doubled, 0 reordered; s00: something")
    assert judge_rows(said + row.format(20, "false")) == found
    assert judge_rows(said + row.format(0, "false")) == ("broken", "s00: something")
    assert judge_rows("Traceback") == ("broken", "Traceback")

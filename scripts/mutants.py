"""`make mutants`: break one promise after another on purpose, and see the check turn red.

A mutant is a patch in `tests/mutants/`. What stands above its diff says in a sentence what it
breaks and, in a line `Check: …`, which check must see it: the id of a test, or a run of the fault
lab. Checks run in copies of the tree: first all of them as the tree is, where they must be green;
then each in a copy with its patch, where it must be red because of what it asserts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "mutants"
CHECK = "Check: "
LAB = "faultlab "
# A check that takes longer hangs, which proves nothing.
CHECK_SECONDS = 150
WORDS_CHARS = 160
# What the fault lab counts.
COUNTS = ("lost", "doubled", "reordered")
# How the message of a failed test begins when the test found something: its assertion, an exception
# that it expected in vain, or the time for which it waited. All else is a crash of the mutant.
FINDINGS = ("assert", "AssertionError", "Failed: DID NOT", "TimeoutError")


@dataclass(frozen=True)
class Mutant:
    """A patch and what must see it."""

    patch: Path
    check: str

    @property
    def name(self) -> str:
        return self.patch.stem


@dataclass(frozen=True)
class Verdict:
    """What became of a check: "green", "red", "broken" when it could not tell, "does not apply"."""

    colour: str
    seconds: float = 0.0
    # The first thing that it found.
    words: str = ""


def read_mutants(folder: Path = PATCHES) -> list[Mutant]:
    """The mutants, by name. Raises ValueError for a patch without its one check."""
    mutants = []
    for patch in sorted(folder.glob("*.patch")):
        head = patch.read_text().partition("\ndiff --git ")[0]
        checks = [line for line in head.splitlines() if line.startswith(CHECK)]
        if len(checks) != 1:
            raise ValueError(f"{patch.name} names {len(checks)} checks instead of one.")
        mutants.append(Mutant(patch, checks[0].removeprefix(CHECK)))
    return mutants


def apply(patch: Path, folder: Path, *options: str) -> str:
    """Apply the patch to the tree in `folder`; what keeps it from that, or nothing."""
    # Not as a part of a repository around it, where paths would mean other files.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        ["git", "apply", *options, str(patch)], cwd=folder, env=env, capture_output=True, text=True
    )
    return done.stderr.strip() or f"git apply: {done.returncode}" if done.returncode else ""


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    """A copy of the files that git knows, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory(prefix="chatsite-mutant-") as parent:
        folder = Path(parent) / "tree"
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        yield folder


# --- Checks


def run_checks(checks: Sequence[str], folder: Path) -> Verdict:
    """Run one check, or several tests together, in the tree in `folder`."""
    began = time.monotonic()
    is_lab = checks[0].startswith(LAB)
    colour, words = run_lab(checks[0], folder) if is_lab else run_tests(checks, folder)
    return Verdict(colour, time.monotonic() - began, words)


def run_tests(ids: Sequence[str], folder: Path) -> tuple[str, str]:
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    code, output = _run(["-m", "pytest", *options, *ids], folder)
    # Also 1 when pytest itself could not begin.
    if code not in (0, 1) or not report.exists():
        return "broken", _last_line(output)
    return judge_report(report.read_text())


def judge_report(xml: str) -> tuple[str, str]:
    """The colour of pytest's report, and its worst failure."""
    crashes: list[str] = []
    failures: list[str] = []
    passed = 0
    for case in ET.fromstring(xml).iter("testcase"):
        name = case.get("name", "")
        for found in (*case.findall("error"), *case.findall("failure")):
            message = found.get("message", "")
            is_finding = found.tag == "failure" and message.startswith(FINDINGS)
            words = f"{name}: {message.partition(chr(10))[0]}"
            (failures if is_finding else crashes).append(words)
        passed += not len(case)
    if crashes:
        return "broken", crashes[0]
    if failures:
        return "red", failures[0]
    return ("green", "") if passed else ("broken", "nothing was run")


def run_lab(check: str, folder: Path) -> tuple[str, str]:
    code, output = _run(["manage.py", *check.split(), "--json"], folder)
    if code not in (0, 1):
        return "broken", _last_line(output)
    return judge_rows(output)


def judge_rows(output: str) -> tuple[str, str]:
    """The colour of the fault lab's row, and what it counted and found first."""
    lines = output.splitlines()
    rows = json.loads(next((line for line in lines if line.startswith("[{")), "[]"))
    found = next((line.strip() for line in lines if line.startswith("    ")), _last_line(output))
    # A row without samples is one of a run that could not be played.
    if not rows or not all(row["runs"] for row in rows):
        return "broken", found
    if all(row["passed"] for row in rows):
        return "green", ""
    counts = (f"{sum(row[name] for row in rows)} {name}" for name in COUNTS)
    return "red", f"{', '.join(counts)}; {found}"


def _run(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of this Python in `folder`; -1 when it took too long."""
    env = os.environ | {"ENV_FILE": os.devnull, "SECRET_KEY": "mutants", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        # As from the keyboard: the lab ends its processes.
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        return -1, f"{output}\nIt took longer than {CHECK_SECONDS} s."
    return process.returncode, output


def _last_line(output: str) -> str:
    return next(reversed(output.strip().splitlines()), "no output")


# --- The run


def try_mutant(mutant: Mutant) -> Verdict:
    with copy_of_tree() as folder:
        if refused := apply(mutant.patch, folder):
            return Verdict("does not apply", words=refused)
        return run_checks([mutant.check], folder)


def run_all(mutants: Sequence[Mutant]) -> int:
    """All checks without a patch, then each with its own; the exit code."""
    table = Table("mutant", "check", "", "", "what the check said")
    failures = 0

    def note(name: str, check: str, verdict: Verdict, wanted: str) -> None:
        nonlocal failures
        failures += verdict.colour != wanted
        mark = verdict.colour if verdict.colour == wanted else verdict.colour.upper()
        seconds, words = f"{verdict.seconds:.1f} s", verdict.words[:WORDS_CHARS]
        table.add_row(name, check.rpartition("::")[2], mark, seconds, words)
        say(f"{name}: {mark} in {seconds} {words}")

    checks = dict.fromkeys(one.check for one in mutants)
    tests = [check for check in checks if not check.startswith(LAB)]
    with copy_of_tree() as folder:
        if tests:
            note("none", f"{len(tests)} tests", run_checks(tests, folder), "green")
        for check in checks:
            if check.startswith(LAB):
                note("none", check, run_checks([check], folder), "green")
    # Where a check is red anyway, its red proves nothing.
    if not failures:
        for mutant in mutants:
            note(mutant.name, mutant.check, try_mutant(mutant), "red")
    Console(width=None if sys.stdout.isatty() else 240).print(table)
    return 1 if failures else 0


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="MUTANT", help="Only these; all if none.")
    names = parser.parse_args().names
    mutants = read_mutants()
    if unknown := set(names) - {one.name for one in mutants}:
        parser.error(f"no mutant {', '.join(sorted(unknown))}")
    return run_all([one for one in mutants if not names or one.name in names])


if __name__ == "__main__":
    sys.exit(main())

"""docs/contract.md promises tests; a promise must not outlive its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CONTRACT = (TESTS.parent / "docs" / "contract.md").read_text(encoding="utf-8")
ROWS = [line for line in CONTRACT.splitlines() if line.startswith("| ") and "::" in line]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", CONTRACT)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_contract_names_tests_that_exist(file: str, name: str) -> None:
    source = (TESTS / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE)


def test_every_row_has_a_kind_and_every_other_thing_a_reason() -> None:
    for row in ROWS:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if cells[0].isdigit():
            continue
        assert cells[1] in ("kept", "translated", "replaced"), row
        assert cells[1] == "kept" or cells[2], row

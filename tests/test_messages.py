"""The catalogues of translations say all that the code says, and are compiled."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conversations.lab.services import Missing
from scripts import messages
from tests.services import ROOT, refuse

PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z%]|\{\w+\}")
HANGUL = re.compile(r"[\uac00-\ud7a3]")
# Names that are the same in every language.
NAMES = {"chatsite", "JSON", "API", "Markdown"}
catalogue = pytest.mark.parametrize("path", messages.CATALOGUES, ids=lambda path: path.parts[0])


@pytest.fixture(autouse=True)
def needs_gettext() -> None:
    if not messages.is_available():
        refuse(Missing("gettext", "gettext"))


def catalogue_of(compiled: Path) -> dict[str | tuple[str, int], str]:
    """What a compiled catalogue says, by message or (message, number of the plural form)."""
    with compiled.open("rb") as file:
        return gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]


def translations_of(source: Path, folder: Path) -> list[tuple[str, str]]:
    """Message and translation, also of what stands in the source without one."""
    messages.compile_catalogue(source, folder / "compiled.mo")
    found = catalogue_of(folder / "compiled.mo")
    return [(key if isinstance(key, str) else key[0], said) for key, said in found.items() if key]


@catalogue
def test_the_committed_catalogue_is_the_compiled_one(path: Path, tmp_path: Path) -> None:
    messages.compile_catalogue(ROOT / path, tmp_path / "compiled.mo")
    committed = catalogue_of((ROOT / path).with_suffix(".mo"))
    assert committed == catalogue_of(tmp_path / "compiled.mo"), "run: make messages"


def test_the_catalogues_have_exactly_the_messages_of_the_code(tmp_path: Path) -> None:
    for folder in ("chatsite", "conversations", "scripts", "streaming", "templates"):
        ignored = shutil.ignore_patterns("__pycache__", "static")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    env = {"ENV_FILE": "/dev/null", "SECRET_KEY": "tests", "PATH": _path()}
    subprocess.run([sys.executable, "-m", "scripts.messages"], cwd=tmp_path, env=env, check=True)
    for path in messages.CATALOGUES:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), "run: make messages"


@catalogue
def test_everything_is_translated_and_nothing_is_a_guess(path: Path) -> None:
    assert messages.untranslated(ROOT / path) == 0
    assert "\n#, fuzzy" not in (ROOT / path).read_text()


@catalogue
def test_a_translation_keeps_the_placeholders(path: Path, tmp_path: Path) -> None:
    found = translations_of(ROOT / path, tmp_path)
    assert len(found) > 40
    for message, said in found:
        # The one form of the plural may name the number that the singular spells out.
        missing = set(PLACEHOLDER.findall(message)) - set(PLACEHOLDER.findall(said))
        assert not missing, (message, said)


@catalogue
def test_a_translation_is_korean(path: Path, tmp_path: Path) -> None:
    for message, said in translations_of(ROOT / path, tmp_path):
        words = set(re.findall(r"[^\W\d_]+", PLACEHOLDER.sub("", said)))
        assert HANGUL.search(said) or words <= NAMES, (message, said)


def test_what_is_not_translated_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "django.po"
    path.write_text(
        f'{messages.HEADER}\nmsgid "a"\nmsgstr ""\n\nmsgid ""\n"b\\n"\n"c"\nmsgstr ""\n\n'
        'msgid "d"\nmsgid_plural "ds"\nmsgstr[0] ""\n\nmsgid "e"\nmsgstr "f"\n'
    )
    assert messages.untranslated(path) == 3


def _path() -> str:
    program = shutil.which("msgfmt")
    assert program
    return str(Path(program).parent)

"""Rebuilds the catalogues of translations from the code, and compiles them; needs gettext.

`streaming/locale` is of the app that other projects use, `chatsite/locale` of all the rest. What is
new stands there with an empty translation, what is gone is gone, and nothing is guessed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import django
from django.core.management.commands import makemessages

ROOT = Path(__file__).resolve().parent.parent
CATALOGUES = tuple(
    Path(app, "locale", "ko", "LC_MESSAGES", "django.po") for app in ("chatsite", "streaming")
)
# The outcome depends on the code alone: no dates, and no lines that move.
HEADER = r"""msgid ""
msgstr ""
"Project-Id-Version: chatsite\n"
"Language: ko\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: nplurals=1; plural=0;\n"
"""
# What is not for the people who use the site.
IGNORED = ["tests", "scripts", "staticfiles", "var", "conversations/lab", "conversations/bench"]
PROGRAMS = ("msgattrib", "msgfmt", "msgmerge", "msguniq", "xgettext")


class Command(makemessages.Command):
    """Django's, which would otherwise guess at what a new message means."""

    msgmerge_options = [*makemessages.Command.msgmerge_options, "--no-fuzzy-matching"]


def is_available() -> bool:
    """Whether gettext's programs are there."""
    return all(shutil.which(program) for program in PROGRAMS)


def rebuild() -> None:
    """Take the messages of the code below the current folder into its catalogues."""
    Command().run_from_argv(
        [
            "manage.py",
            "makemessages",
            *("--locale=ko", "--no-location", "--no-obsolete", "--no-wrap", "--verbosity=0"),
            *(f"--ignore={path}" for path in IGNORED),
        ]
    )
    for path in CATALOGUES:
        _header, _blank, entries = path.read_text().partition("\n\n")
        path.write_text(f"{HEADER}\n{entries}")


def compile_catalogue(source: Path, target: Path) -> None:
    """Raises CalledProcessError when a placeholder is wrong."""
    subprocess.run(["msgfmt", "--check-format", "-o", target, source], check=True)


def untranslated(path: Path) -> int:
    """How many messages of a catalogue have no translation yet."""
    found = subprocess.run(
        ["msgattrib", "--untranslated", "--no-wrap", path],
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.count('\nmsgid "') - found.stdout.count('\nmsgid ""\nmsgstr ""\n"')


def main() -> None:
    if not is_available():
        sys.exit("gettext is not installed. On Debian: apt-get install gettext")
    os.chdir(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")
    django.setup()
    rebuild()
    for path in CATALOGUES:
        compile_catalogue(path, path.with_suffix(".mo"))
        if missing := untranslated(path):
            sys.stdout.write(f"{path}: {missing} without a translation\n")


if __name__ == "__main__":
    main()

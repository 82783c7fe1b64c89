"""`manage.py pagebench`: what the pages cost in a browser, against what they may cost."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from conversations.bench.browser import as_json, as_lines, measure_pages
from conversations.bench.site import BenchmarkFailed
from conversations.lab.process import Missing


class Command(BaseCommand):
    help = (
        "Measures the pages of this site in Chromium, on a site of its own in a temporary folder "
        "with 200 chats, one of them with 500 messages: bytes of the first page, requests to "
        "others, largest paint on a slow processor, script time and frames while an answer "
        "comes, and queries. Prints each number with its limit; exit code 1 when one is missed. "
        "For developers: needs Playwright and Chromium. Progress goes to standard error."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", dest="one_line", action="store_true", help="Print one line of JSON."
        )

    def handle(self, *, one_line: bool, **options: Any) -> None:
        try:
            figures = measure_pages(say=self.say)
        except (BenchmarkFailed, Missing, RuntimeError, TimeoutError) as error:
            raise CommandError("\n".join([str(error), *getattr(error, "__notes__", [])])) from None
        self.stdout.write(as_json(figures) if one_line else as_lines(figures))
        if missed := [one.name for one in figures if not one.is_met]:
            raise CommandError(f"Missed: {', '.join(missed)}.")

    def say(self, text: str) -> None:
        self.stderr.write(text, lambda line: line)

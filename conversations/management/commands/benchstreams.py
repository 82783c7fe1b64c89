"""`manage.py benchstreams`: what an answer costs the site, and whether every word arrives."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from conversations.bench.matrix import measure_matrix
from conversations.bench.measure import Load
from conversations.bench.series import NotPossible, series
from conversations.bench.site import BenchmarkFailed, Setup
from conversations.bench.texts import SHAPES
from conversations.lab.process import Missing

FAILURES = (BenchmarkFailed, Missing, NotPossible, RuntimeError, TimeoutError)


class Command(BaseCommand):
    help = (
        "Measures the real site: a scripted model server in its own process, this site in a "
        "temporary folder with its own database, and guests in a further process who ask by the "
        "page's form and read by the page's socket. The site is one process of `manage.py serve` "
        "on SQLite, or several, with workers, on a private PostgreSQL and Redis. CPU is user and "
        "system time of each part's process trees from the first message to the last end; "
        "latency is from a token's sending to its first appearance in a frame; every token "
        "carries a numbered mark. Progress goes to standard error."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--streams", type=int, default=100, help="Guests who ask once each.")
        parser.add_argument("--tokens", type=int, default=300, help="Tokens of each answer.")
        parser.add_argument("--rate", type=float, default=50, help="Tokens a second and answer.")
        parser.add_argument("--tabs", type=int, default=1, help="Tabs on each answer.")
        parser.add_argument(
            "--followers", type=int, default=0, help="Sockets without a page on the first answer."
        )
        parser.add_argument(
            "--idle", type=float, default=0, help="Seconds with open tabs before anybody asks."
        )
        parser.add_argument("--shape", choices=SHAPES, default="mixed", help="What the text is.")
        parser.add_argument("--runs", type=int, default=3, help="Runs of which medians are told.")
        parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
        parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
        parser.add_argument("--webs", type=int, default=1, help="Web processes.")
        parser.add_argument(
            "--workers", type=int, default=0, help="Workers; 0: the web processes generate."
        )
        parser.add_argument("--redis", action="store_true", help="Redis also for a single process.")
        parser.add_argument(
            "--json", dest="one_line", action="store_true", help="Print one line of JSON."
        )
        parser.add_argument(
            "--matrix",
            action="store_true",
            help="Measure the set-ups of docs/performance.md once each; prints its tables.",
        )

    def handle(
        self,
        *,
        streams: int,
        tokens: int,
        rate: float,
        tabs: int,
        followers: int,
        idle: float,
        shape: str,
        runs: int,
        database: str,
        server: str,
        webs: int,
        workers: int,
        redis: bool,
        one_line: bool,
        matrix: bool,
        **options: Any,
    ) -> None:
        if matrix:
            self.stdout.write(measure_matrix(say=self.say))
            return
        load = Load(streams, tokens, rate, tabs, followers, idle, shape)
        setup = Setup(database, server, webs, workers, redis)
        try:
            figures = series(setup, load, runs, say=self.say)
        except FAILURES as error:
            raise CommandError(told(error)) from None
        report = asdict(setup) | asdict(load) | figures
        self.stdout.write(as_json(report) if one_line else as_lines(report))

    def say(self, text: str) -> None:
        self.stderr.write(text, lambda line: line)


def told(error: BaseException) -> str:
    """The error and, of a process that did not start, its last words."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, separators=(",", ":"))


def as_lines(report: dict[str, Any]) -> str:
    """The report as a person reads it, a figure a line."""
    return "\n".join(f"{name:24} {value}" for name, value in report.items())

"""`manage.py benchstreams`: what an answer costs the server, and whether every word arrives."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from conversations.bench.measure import Load, measure, medians
from conversations.bench.site import BenchmarkFailed, Site, provider
from conversations.bench.texts import SHAPES

SERVE = "python manage.py serve --port {port}"


class Command(BaseCommand):
    help = (
        "Measures the real server: a scripted model server in its own process, this site by "
        "`manage.py serve` in a temporary folder with its own SQLite, and guests in a third "
        "process who ask by the page's form and read by the page's socket. CPU is user and system "
        "time of the server's process tree from the first message to the last end; latency is "
        "from a token's sending to its first appearance in a frame; every token carries a "
        "numbered mark. Progress goes to standard error."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--streams", type=int, default=100, help="Guests who ask once each.")
        parser.add_argument("--tokens", type=int, default=300, help="Tokens of each answer.")
        parser.add_argument("--rate", type=float, default=50, help="Tokens a second and answer.")
        parser.add_argument("--tabs", type=int, default=1, help="Tabs on each answer.")
        parser.add_argument("--shape", choices=SHAPES, default="mixed", help="What the text is.")
        parser.add_argument("--runs", type=int, default=3, help="Runs of which medians are told.")
        parser.add_argument(
            "--json", dest="one_line", action="store_true", help="Print one line of JSON."
        )
        parser.add_argument(
            "--server",
            default=SERVE,
            metavar="COMMAND",
            help="How to start the server; {port} is its port (default: %(default)s).",
        )

    def handle(
        self,
        *,
        streams: int,
        tokens: int,
        rate: float,
        tabs: int,
        shape: str,
        runs: int,
        one_line: bool,
        server: str,
        **options: Any,
    ) -> None:
        if min(streams, tokens, tabs, runs) < 1 or rate <= 0:
            raise CommandError("Streams, tokens, rate, tabs and runs must be positive.")
        load = Load(streams=streams, tokens=tokens, rate=rate, tabs=tabs, shape=shape)
        try:
            figures = self.measure(load, runs, server)
        except BenchmarkFailed as error:
            raise CommandError(str(error)) from None
        report = describe(load) | figures | {"load_avg": round(os.getloadavg()[0], 2)}
        self.stdout.write(as_json(report) if one_line else as_lines(report))

    def measure(self, load: Load, runs: int, server: str) -> dict[str, Any]:
        """The medians of `runs` runs, each on a fresh server."""
        root = Path(settings.BASE_DIR)
        with (
            tempfile.TemporaryDirectory(prefix="benchstreams-") as folder,
            provider(root, shape=load.shape, tokens=load.tokens, rate=load.rate) as port,
        ):
            site = Site(root, Path(folder), port)
            self.say("preparing a site in a temporary folder")
            site.prepare()
            results = []
            for number in range(1, runs + 1):
                self.say(f"run {number} of {runs}")
                # Memory that is kept shows in any run; one second round is enough.
                growth = number == 1
                result = measure(site, root, server, load, growth=growth, say=self.say)
                self.say(as_json(describe(load) | result))
                results.append(result)
            return medians(results)

    def say(self, text: str) -> None:
        self.stderr.write(text, lambda line: line)


def describe(load: Load) -> dict[str, Any]:
    return {
        "streams": load.streams,
        "tokens": load.tokens,
        "rate": load.rate,
        "tabs": load.tabs,
        "shape": load.shape,
    }


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, separators=(",", ":"))


def as_lines(report: dict[str, Any]) -> str:
    """The report as a person reads it, a figure a line."""
    return "\n".join(f"{name:24} {value}" for name, value in report.items())

"""`manage.py faultlab`: break the real site on purpose, and prove that no character was lost."""

from __future__ import annotations

import json
import random
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from conversations.lab import disk, faults, site
from conversations.lab.faults import Fault
from conversations.lab.loops import observers_runner
from conversations.lab.process import Missing
from conversations.lab.run import Run
from conversations.lab.site import SETUPS, Ground, scaled

FIELDS = ("fault", "setup", "runs", "lost", "doubled", "reordered", "recovery_s", "passed")


class Command(BaseCommand):
    help = (
        "Starts the real site as processes (SQLite: one web process; PostgreSQL: two web processes "
        "and two workers, with Redis) beside a scripted provider, lets twenty people ask, injects "
        "a fault at a seeded moment, and holds what every observer saw against the provider's "
        "text and the database. Progress goes to standard error; the exit code is 1 when a row "
        "fails. docs/reliability.md explains every row."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("faults", nargs="*", metavar="FAULT", help="F1 to F30; all if none.")
        parser.add_argument(
            "--setup", choices=SETUPS, action="append", dest="setups", help="Only this set-up."
        )
        parser.add_argument("--seed", type=int, help="Repeats the moments of an earlier run.")
        parser.add_argument(
            "--short", action="store_true", help="Divides the times by ten, by settings."
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Prints one line of JSON."
        )
        parser.add_argument(
            "--logs", type=Path, metavar="FOLDER", help="Keeps what the processes write there."
        )
        parser.add_argument("--list", action="store_true", help="Names the faults and ends.")

    def handle(
        self,
        *,
        faults: list[str],
        setups: list[str] | None,
        seed: int | None,
        short: bool,
        as_json: bool,
        logs: Path | None,
        **options: Any,
    ) -> None:
        chosen = choose(faults)
        if options["list"]:
            for one in chosen:
                self.stdout.write(f"{one.name:6} {'+'.join(one.setups):16} {one.title}")
            return
        seed = random.SystemRandom().randrange(10**6) if seed is None else seed
        self.say(f"seed {seed}")
        rows = []
        setups = setups or list(SETUPS)
        try:
            check(chosen, setups)
            for row in run_all(chosen, setups, seed, short, logs):
                rows.append(row)
                self.say(line_of(row))
        except Missing as missing:
            raise CommandError(str(missing)) from None
        if as_json:
            self.stdout.write(json.dumps([{name: row[name] for name in FIELDS} for row in rows]))
        else:
            show(rows, self.stdout)
        if not all(row["passed"] for row in rows):
            raise SystemExit(1)

    def say(self, text: str) -> None:
        self.stderr.write(text, lambda line: line)


def choose(names: list[str]) -> list[Fault]:
    """The faults of these names; F12 means every F12-…. Raises CommandError."""
    known = faults.load()
    unknown = [name for name in names if not any(is_of(one, name) for one in known)]
    if unknown:
        raise CommandError(f"No fault {', '.join(unknown)}; known are {', '.join(known)}.")
    return [one for name, one in known.items() if not names or any(is_of(name, n) for n in names)]


def is_of(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}-")


def check(chosen: list[Fault], setups: list[str]) -> None:
    """Raises Missing for what a run would miss, perhaps after half an hour."""
    for setup in setups:
        wanted = [one for one in chosen if setup in one.setups]
        if wanted:
            site.check(setup)
        for one in wanted:
            if one.check:
                one.check()
        if setup == "postgres" and any(one.small_disk for one in wanted):
            disk.check()


def run_all(
    chosen: list[Fault], setups: list[str], seed: int, short: bool, logs: Path | None
) -> Iterator[dict[str, Any]]:
    """A row for each fault and set-up, as each ends. Raises Missing."""
    for setup in setups:
        wanted = [one for one in chosen if setup in one.setups]
        if not wanted:
            continue
        with ExitStack() as stack:
            if logs is None:
                passing = tempfile.TemporaryDirectory(prefix="chatsite-lab-")
                folder = Path(stack.enter_context(passing))
            else:
                folder = logs.resolve() / setup
                folder.mkdir(parents=True)
            ground = stack.enter_context(Ground(setup, folder).open())
            for one in wanted:
                yield run_one(one, ground, random.Random(f"{seed} {one.name} {setup}"), short)


def run_one(one: Fault, ground: Ground, chance: random.Random, short: bool) -> dict[str, Any]:
    """The row of one fault in one set-up."""
    began = time.monotonic()
    try:
        variables = {**one.variables, **scaled(one.times, short)}
        with (
            ground.site(
                variables,
                webs=one.webs,
                workers=one.workers,
                small_disk=one.small_disk,
                short=short,
            ) as place,
            observers_runner() as runner,
        ):
            found = runner.run(play(one, Run(place, chance, short)))
    except Exception as error:
        # One run that cannot be played must not hide the others' rows.
        found = failed(error)
    names = {"fault": one.name, "title": one.title, "setup": ground.setup}
    return names | found | {"seconds": round(time.monotonic() - began, 1)}


async def play(one: Fault, run: Run) -> dict[str, Any]:
    try:
        await one.inject(run)
        return await run.finish()
    finally:
        await run.close()


def failed(error: Exception) -> dict[str, Any]:
    """The row of a run that ended by an error; nothing is proved by it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "conversations" in Path(frame.filename).parts]
    where = ", ".join(f"{Path(one.filename).name}:{one.lineno}" for one in ours[-4:])
    words = [f"{type(error).__name__} at {where}: {error}", *getattr(error, "__notes__", ())]
    counts = dict.fromkeys(("runs", "lost", "doubled", "reordered"), 0)
    recovery = {"median": None, "worst": None}
    return counts | {"recovery_s": recovery, "passed": False, "problems": words}


def line_of(row: dict[str, Any]) -> str:
    verdict = "passed" if row["passed"] else "FAILED"
    line = f"{row['fault']:6} {row['setup']:9} {verdict} in {row['seconds']} s"
    return "\n".join([line, *(f"    {problem}" for problem in row["problems"][:30])])


def show(rows: list[dict[str, Any]], stream: Any) -> None:
    """The table."""
    table = Table("fault", "", "set-up", "samples", "lost", "doubled", "reordered")
    for heading in ("recovery median", "worst", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        recovery = [f"{v:.2f} s" if v is not None else "" for v in row["recovery_s"].values()]
        counts = [str(row[name]) for name in ("runs", "lost", "doubled", "reordered")]
        table.add_row(
            *(row["fault"], row["title"], row["setup"], *counts, *recovery),
            "passed" if row["passed"] else "FAILED",
        )
    Console(file=stream, width=None if stream.isatty() else 160).print(table)

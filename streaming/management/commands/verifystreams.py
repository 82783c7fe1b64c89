"""`manage.py verifystreams`: proves that every stored stream is whole."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from streaming.models import Stream
from streaming.verifying import Problem, check, silent_streams, stream_ids
from streaming.verifying import repair as repair_problem

PROGRESS_SECONDS = {True: 0.2, False: 10.0}


def mend(stream_id: uuid.UUID, found: list[Problem]) -> bool:
    """Repair what can be; whether the stream is whole then."""
    for problem in found:
        if problem.is_repairable:
            repair_problem(problem)
    return not check(stream_id)


class Command(BaseCommand):
    help = (
        "Checks the streams, all or those named: their chunks follow each other from 0 without a "
        "gap and add up to the length, no older writer wrote behind a newer one, an ended stream "
        "has its time of end, the hash of its text is the one kept at its end, and what is kept "
        "beside it (the message of a chat) is the same text. --repair mends what the chunks can "
        "prove: a missing hash (streams from before there was one), a wrong length, another text "
        "beside the stream, an end that was not handed over. The exit code is 1 when something "
        "wrong is left. Streams that run meanwhile are judged by what was committed; those without "
        "a heartbeat for STREAMING_ABANDONED_SECONDS are named, and left to the servers or to "
        "sweepstreams."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=uuid.UUID, metavar="ID", help="Only these.")
        parser.add_argument("--repair", action="store_true", help="Mend what can be mended.")
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="A JSON object in a line for each problem, and one of the totals last.",
        )

    def handle(self, *, ids: list[uuid.UUID], repair: bool, as_json: bool, **options: Any) -> None:
        self.as_json = as_json
        self.total = len(ids) or Stream.objects.count()
        checked = problems = repaired = 0
        self.progress_at = time.monotonic()
        for stream_id in stream_ids(ids):
            if found := check(stream_id):
                is_repaired = repair and mend(stream_id, found)
                for problem in found:
                    self.tell(problem, is_repaired)
                problems += len(found)
                repaired += len(found) * is_repaired
            checked += 1
            self.show_progress(checked)
        abandoned = silent_streams(ids)
        self.conclude(checked, problems, repaired, abandoned)
        if missing := len(set(ids)) - checked if ids else 0:
            raise CommandError(f"{missing} of the named streams do not exist.")
        if problems > repaired:
            raise CommandError(f"{problems - repaired} problems are left.")

    def tell(self, problem: Problem, is_repaired: bool) -> None:
        if self.as_json:
            self.put(
                stream=str(problem.stream_id),
                problem=problem.kind,
                detail=problem.sentence,
                repaired=is_repaired,
            )
        else:
            state = "repaired" if is_repaired else problem.kind
            self.stdout.write(f"{problem.stream_id} {state}: {problem.sentence}")

    def conclude(
        self, checked: int, problems: int, repaired: int, abandoned: list[uuid.UUID]
    ) -> None:
        if self.as_json:
            self.put(
                checked=checked,
                problems=problems,
                repaired=repaired,
                abandoned=[str(pk) for pk in abandoned],
            )
            return
        for pk in abandoned:
            self.stdout.write(f"{pk} has no heartbeat; a server or sweepstreams will end it.")
        self.stdout.write(f"{checked} streams checked: {problems} problems, {repaired} repaired.")

    def put(self, **values: Any) -> None:
        self.stdout.write(json.dumps(values))

    def show_progress(self, checked: int) -> None:
        """On a terminal one line that moves, elsewhere a line now and then; on standard error."""
        on_terminal = self.stderr.isatty()
        now = time.monotonic()
        is_last = on_terminal and checked == self.total
        if now - self.progress_at < PROGRESS_SECONDS[on_terminal] and not is_last:
            return
        self.progress_at = now
        line = f"{checked:,} of {self.total:,} streams checked"
        self.stderr.write(f"\r{line}" if on_terminal else line, ending="" if on_terminal else "\n")
        if is_last:
            self.stderr.write("")

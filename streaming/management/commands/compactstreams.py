"""`manage.py compactstreams`: the many chunks of an old stream become one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Exists, OuterRef
from django.utils import timezone

from streaming.actions import compact
from streaming.models import Chunk, Stream
from streaming.verifying import PAGE_STREAMS


class Command(BaseCommand):
    help = (
        "Folds the chunks of each stream that ended more than --older-than-days ago into one. Its "
        "text, its hash and what readers get stay the same; only the times of the single chunks "
        "are lost. A stream whose chunks are not whole is left as it is (see verifystreams). Each "
        "stream is a transaction of its own, so the command may be stopped and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than-days", type=int, default=30, help="Default: %(default)s.")
        parser.add_argument("--dry-run", action="store_true", help="Count, fold nothing.")

    def handle(self, *, older_than_days: int, dry_run: bool, **options: Any) -> None:
        old = Stream.objects.ended().filter(
            Exists(Chunk.objects.filter(stream=OuterRef("pk"), start__gt=0)),
            ended_at__lt=timezone.now() - timedelta(days=older_than_days),
        )
        if dry_run:
            self.stdout.write(f"{old.count()} streams would be folded.")
            return
        folded = left = 0
        ids = old.order_by("pk").values_list("pk", flat=True)
        page = list(ids[:PAGE_STREAMS])
        while page:
            done = sum(compact(pk) for pk in page)
            folded, left = folded + done, left + len(page) - done
            page = list(ids.filter(pk__gt=page[-1])[:PAGE_STREAMS])
        self.stdout.write(f"{folded} streams were folded.")
        if left:
            raise CommandError(f"{left} were left as they are; see verifystreams.")

"""`manage.py purgedeleted`: remove at once what a running server removes bit by bit."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from conversations.purging import purge_deleted


class Command(BaseCommand):
    help = (
        "Removes the conversations that were deleted, with their messages, streams and text. "
        "Running servers do this themselves within seconds; the command is for sites whose server "
        "does not run. What was deleted less than UNDO_SECONDS ago is left: its owner may undo "
        "that. It may be stopped and run again."
    )

    def handle(self, **options: Any) -> None:
        self.stdout.write(f"{purge_deleted()} deleted conversations were removed.")

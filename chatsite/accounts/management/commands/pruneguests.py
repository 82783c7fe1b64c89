"""`manage.py pruneguests`: guests who do not come back go, with everything of theirs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from chatsite.accounts.actions import delete_person
from conversations.models import Conversation
from streaming.models import Stream

# Guests whose ids are read at once.
PAGE = 100


class Command(BaseCommand):
    help = (
        "Deletes the guests (people without an email address, who are not staff) who signed in and "
        "wrote for the last time more than GUEST_RETENTION_DAYS ago and have no running stream, "
        "with their conversations, messages and streams. --dry-run only counts them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=settings.GUEST_RETENTION_DAYS,
            help="Days since the last visit (default: GUEST_RETENTION_DAYS, now %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count, delete nothing.")

    def handle(self, *, days: int, dry_run: bool, **options: Any) -> None:
        stale = stale_guests(days)
        if dry_run:
            self.stdout.write(f"{stale.count()} guests would be deleted.")
            return
        deleted = 0
        # What cannot be deleted any more is no longer stale, so each round gets nearer the end.
        while page := list(stale.order_by("pk").values_list("pk", flat=True)[:PAGE]):
            deleted += sum(prune(stale, pk) for pk in page)
        self.stdout.write(f"{deleted} guests were deleted.")


def stale_guests(days: int) -> QuerySet[Any]:
    """Guests whose last sign-in and last message are more than `days` ago, with nothing running."""
    before = timezone.now() - timedelta(days=days)
    return get_user_model().objects.filter(
        Q(last_login__lt=before) | Q(last_login__isnull=True, date_joined__lt=before),
        ~Exists(Conversation.objects.filter(owner=OuterRef("pk"), last_message_at__gte=before)),
        ~Exists(Stream.objects.open().filter(owner=OuterRef("pk"))),
        email__isnull=True,
        is_staff=False,
    )


def prune(stale: QuerySet[Any], pk: int) -> bool:
    """Delete one guest, unless they came back in the meantime; long logs go in pages first."""
    guest = stale.filter(pk=pk).first()
    if guest is None:
        return False
    delete_person(guest)
    return True

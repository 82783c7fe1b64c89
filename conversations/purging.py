"""What is left of deleted conversations goes in pages, by whoever comes next."""

from __future__ import annotations

import math
import time
from uuid import UUID

from django.db import transaction

from streaming import actions as streams
from streaming.models import Stream

from .models import Conversation, Message

PAGE_MESSAGES = 100
CHORE_SECONDS = 1.0


def purge(conversation_id: UUID, *, until: float = math.inf) -> bool:
    """Remove a deleted conversation with its streams, messages and forms' records.

    False when the monotonic time `until` came first. A transaction for each page: call it outside
    of one, again when it was cut short, and in several processes at once. A conversation that is
    not deleted is left alone.
    """
    deleted = Conversation.objects.deleted().filter(pk=conversation_id)
    if not deleted.exists():
        return True
    # Replies before what they answer: a message takes its replies along.
    messages = Message.objects.filter(conversation=conversation_id).order_by("-pk")
    while page := list(messages.values_list("pk", "stream_id")[:PAGE_MESSAGES]):
        for _pk, stream_id in page:
            if time.monotonic() > until:
                return False
            if stream := Stream.objects.filter(pk=stream_id).first():
                streams.delete(stream)
        with transaction.atomic():
            messages.filter(pk__gte=page[-1][0]).delete()
    deleted.delete()
    return True


def purge_deleted(*, until: float = math.inf) -> int:
    """Purge all deleted conversations, oldest deletion first; how many are gone now."""
    ids = list(Conversation.objects.deleted().order_by("deleted_at").values_list("pk", flat=True))
    return sum(purge(pk, until=until) for pk in ids if time.monotonic() < until)


def purge_a_little() -> None:
    """A server's chore: some of what waits."""
    purge_deleted(until=time.monotonic() + CHORE_SECONDS)

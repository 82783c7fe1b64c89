"""What is left of deleted conversations goes in pages, by whoever comes next.

Not while a person may still undo the deletion. How long ago that was the database says, whose clock
wrote the time, and a wrong one loses nothing: what a purge has begun with cannot come back.
"""

from __future__ import annotations

import math
import time
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from streaming import actions as streams
from streaming.models import Stream

from .models import Conversation, ConversationQuerySet, Message

PAGE_MESSAGES = 100
CHORE_SECONDS = 1.0


def purge(conversation_id: UUID, *, until: float = math.inf) -> bool:
    """Remove a deleted conversation with its streams, messages and forms' records.

    False when the monotonic time `until` came first. A transaction for each page: call it outside
    of one, again when it was cut short, and in several processes at once. A conversation that is
    not deleted is left alone.
    """
    deleted = Conversation.objects.deleted().filter(pk=conversation_id)
    # From here on nobody brings it back (`keeping.restore`).
    if not deleted.update(leaf=None):
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


def beyond_undo() -> ConversationQuerySet:
    """Deleted conversations that nobody may bring back any more."""
    since = Now() - timedelta(seconds=settings.UNDO_SECONDS)
    return Conversation.objects.deleted().filter(Q(leaf=None) | Q(deleted_at__lt=since))


def purge_deleted(*, until: float = math.inf) -> int:
    """Purge what is `beyond_undo`, oldest deletion first; how many are gone now."""
    ids = list(beyond_undo().order_by("deleted_at").values_list("pk", flat=True))
    return sum(purge(pk, until=until) for pk in ids if time.monotonic() < until)


def purge_a_little() -> None:
    """A server's chore: some of what waits."""
    purge_deleted(until=time.monotonic() + CHORE_SECONDS)

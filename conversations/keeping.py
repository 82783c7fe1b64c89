"""What a person does with a whole chat in their list: each verb is one transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from streaming import actions as streams
from streaming.models import EndReason, Stream

from .models import Conversation, Message
from .topics import conversation_changed, list_changed


def rename(conversation: Conversation, title: str) -> None:
    """Give the conversation a title that stays."""
    with transaction.atomic():
        conversation_changed(conversation.pk)
        conversation.title = title
        conversation.save(update_fields=["title"])


def pin(conversation: Conversation, is_pinned: bool) -> None:
    """Keep the conversation on top of its owner's list, or no more; its archive is left then."""
    with transaction.atomic():
        conversation.pinned_at = timezone.now() if is_pinned else None
        if is_pinned:
            conversation.archived_at = None
        conversation.save(update_fields=["pinned_at", "archived_at"])
        list_changed(conversation.owner_id)


def archive(conversation: Conversation, is_archived: bool) -> None:
    """Put the conversation away into the archive, where none is pinned, or bring it back."""
    with transaction.atomic():
        conversation.archived_at = timezone.now() if is_archived else None
        if is_archived:
            conversation.pinned_at = None
        conversation.save(update_fields=["pinned_at", "archived_at"])
        list_changed(conversation.owner_id)


def delete_conversation(conversation: Conversation, *, for_good: bool = False) -> bool:
    """Hide the conversation and stop its running answers; False when it was deleted.

    Its rows are removed in the background (`purging`), when it is too late for
    `restore_conversation`: `for_good` it is at once.
    """
    # The database's clock, which says later how long ago that was.
    changes: dict[str, Any] = {"deleted_at": Now()}
    if for_good:
        changes["leaf"] = None
    with transaction.atomic():
        visible = Conversation.objects.visible().filter(pk=conversation.pk)
        if not visible.update(**changes):
            return False
        conversation_changed(conversation.pk)
        for stream in Stream.objects.open().filter(message__conversation=conversation.pk):
            streams.stop(stream, EndReason.DELETED)
    return True


def restorable(user: Any, pk: UUID) -> Conversation | None:
    """The deleted conversation of `user` if it can still come back."""
    deleted = Conversation.objects.deleted().filter(owner=user.pk, pk=pk, leaf__isnull=False)
    return deleted.first()


def restore_conversation(conversation: Conversation) -> bool:
    """Undo a deletion: the chat is back, the answers that it stopped stay stopped.

    False when its purge has begun, or nobody had deleted it.
    """
    with transaction.atomic():
        # The purge takes the leaf by an update of the same row: one of the two is first.
        deleted = Conversation.objects.deleted().filter(pk=conversation.pk, leaf__isnull=False)
        if not deleted.update(deleted_at=None):
            return False
        version = conversation_changed(conversation.pk)
        # Stopped by their owner, that is what they are now; pages that showed them get them again.
        stopped = Stream.objects.filter(
            message__conversation=conversation.pk, end_reason=EndReason.DELETED
        )
        answers = Message.objects.filter(stream__in=stopped.values("pk"))
        answers.update(version=version)
        stopped.update(end_reason=EndReason.USER)
    return True


def mark_read(conversation: Conversation) -> int | None:
    """Take the unread mark away; the list's new version, None if there was no mark."""
    unread = Conversation.objects.filter(pk=conversation.pk, is_unread=True)
    with transaction.atomic():
        return list_changed(conversation.owner_id) if unread.update(is_unread=False) else None

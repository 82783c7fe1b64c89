"""What a person does with a whole chat in their list: each verb is one transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from streaming import actions as streams
from streaming.models import EndReason, Stream

from .models import Conversation, ConversationQuerySet, Message
from .topics import conversation_changed, conversations_changed, list_changed


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
    `restore`: `for_good` it is at once.
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


def delete_all(user: Any) -> int:
    """Delete all conversations of `user`, archived ones too, as one of them is; how many.

    All have the same `deleted_at`, by which one undo brings them back (`restore`).
    """
    own = Conversation.objects.owned_by(user)
    with transaction.atomic():
        conversations_changed(own, user.pk)
        deleted = own.update(deleted_at=Now())
        running = Stream.objects.open().filter(
            message__conversation__owner=user.pk, message__conversation__deleted_at__isnull=False
        )
        for stream in running:
            streams.stop(stream, EndReason.DELETED)
    return deleted


def restorable(owner_id: Any) -> ConversationQuerySet:
    """A person's deleted conversations that can still come back."""
    return Conversation.objects.deleted().filter(owner=owner_id, leaf__isnull=False)


def deleted_with(conversation: Conversation) -> ConversationQuerySet:
    """What the same act deleted, `conversation` among it, and can still come back."""
    # Compared by the database: its clock is finer, or coarser, than what Python reads.
    at = Conversation.objects.filter(pk=conversation.pk).values("deleted_at")
    return restorable(conversation.owner_id).filter(deleted_at=Subquery(at))


def restore(conversation: Conversation) -> int:
    """Undo a deletion: the chat is back, with all that the same act deleted; how many that are.

    The answers that it stopped stay stopped. 0 when the purge has begun, or nobody had deleted it.
    """
    together = deleted_with(conversation)
    with transaction.atomic():
        # The purge takes the leaf by an update of the same row: one of the two is first.
        if not conversations_changed(together, conversation.owner_id):
            return 0
        # Stopped by their owner, that is what they are now; pages that showed them get them again.
        stopped = Stream.objects.filter(
            message__conversation__in=together, end_reason=EndReason.DELETED
        )
        version = Conversation.objects.filter(pk=OuterRef("conversation")).values("version")
        answers = Message.objects.filter(stream__in=stopped.values("pk"))
        answers.update(version=Subquery(version))
        stopped.update(end_reason=EndReason.USER)
        return together.update(deleted_at=None)


def mark_read(conversation: Conversation) -> int | None:
    """Take the unread mark away; the list's new version, None if there was no mark."""
    unread = Conversation.objects.filter(pk=conversation.pk, is_unread=True)
    with transaction.atomic():
        return list_changed(conversation.owner_id) if unread.update(is_unread=False) else None

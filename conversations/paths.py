"""Paths through a conversation's tree of messages, and how one page becomes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from .models import Conversation, Message


@dataclass(frozen=True)
class Changes:
    """What turns a page that shows one path into one that shows the newest; pks and messages."""

    removed: list[int]
    changed: list[Message]
    added: list[Message]


def path_to(conversation_id: UUID, leaf_id: int | None) -> list[int]:
    """The pks of the messages from the root to `leaf_id`, root first; one query."""
    return _walk(_parents(conversation_id), leaf_id)


def path_through(conversation_id: UUID, leaf_id: int | None, message_id: int) -> list[int]:
    """As `path_to`; if the message is not on that path, the one to the newest below it instead."""
    parents = _parents(conversation_id)
    path = _walk(parents, leaf_id)
    if message_id in path or message_id not in parents:
        return path
    newest_reply = {parents[pk]: pk for pk in sorted(parents)}
    newest = message_id
    while newest in newest_reply:
        newest = newest_reply[newest]
    return _walk(parents, newest)


def messages_of(path: Sequence[int]) -> list[Message]:
    """The messages of a path in its order, with their streams; one query."""
    found = Message.objects.select_related("stream").in_bulk(path)
    return [found[pk] for pk in path if pk in found]


def changes_since(conversation: Conversation, *, version: int, leaf_id: int | None) -> Changes:
    """What a page lacks that shows the path to `leaf_id` as of `version`; two queries."""
    parents = _parents(conversation.pk)
    shown = _walk(parents, leaf_id)
    newest = _walk(parents, conversation.leaf_id)
    common = sum(1 for old, new in zip(shown, newest, strict=False) if old == new)
    found = {
        message.pk: message
        for message in messages_of(newest)
        if message.version > version or message.pk in newest[common:]
    }
    return Changes(
        removed=shown[common:],
        changed=[found[pk] for pk in newest[:common] if pk in found],
        added=[found[pk] for pk in newest[common:]],
    )


def _parents(conversation_id: UUID) -> dict[int, int | None]:
    rows = Message.objects.filter(conversation=conversation_id).values_list("pk", "parent_id")
    return dict(rows)


def _walk(parents: dict[int, int | None], leaf_id: int | None) -> list[int]:
    path: list[int] = []
    while leaf_id is not None and leaf_id in parents:
        path.append(leaf_id)
        leaf_id = parents[leaf_id]
    path.reverse()
    return path

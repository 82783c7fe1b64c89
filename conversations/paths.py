"""Paths through a conversation's tree of messages, and how one page becomes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from .models import Conversation, Message


@dataclass(frozen=True)
class Tree:
    """The shape of a conversation: each message's pk and its parent's, oldest first."""

    parents: dict[int, int | None]

    @classmethod
    def of(cls, conversation_id: UUID) -> Tree:
        """One query."""
        rows = Message.objects.filter(conversation=conversation_id).order_by("pk")
        return cls(dict(rows.values_list("pk", "parent_id")))

    def path_to(self, leaf_id: int | None) -> list[int]:
        """The pks of the messages from the root to `leaf_id`, root first."""
        path: list[int] = []
        while leaf_id is not None and leaf_id in self.parents:
            path.append(leaf_id)
            leaf_id = self.parents[leaf_id]
        path.reverse()
        return path

    def newest_leaf(self, pk: int) -> int:
        """The end of the newest branch through `pk`.

        A message is stored after the one it answers, so that the newest of a branch is a leaf.
        """
        branch = {pk}
        for message, parent in self.parents.items():
            if parent in branch:
                branch.add(message)
        return max(branch)

    def messages(self, path: Sequence[int], *having: Q) -> list[Message]:
        """As `messages_of`, for a path of this tree, with the variants of each message."""
        variants: dict[int | None, list[int]] = {}
        for pk, parent in self.parents.items():
            variants.setdefault(parent, []).append(pk)
        found = messages_of(path, *having)
        for message in found:
            message.variants = variants[message.parent_id]
        return found


@dataclass(frozen=True)
class Changes:
    """What turns a page that shows one path into one that shows the newest; pks and messages."""

    removed: list[int]
    changed: list[Message]
    # Nothing but their rating changed.
    rated: list[Message]
    added: list[Message]
    # The oldest message that the page shows then; 0 for an empty one.
    first: int
    # The newest message that the page shows then, if that is not the path's end; else 0.
    last: int
    # Whether only a new list of messages turns the page: the paths part above what it shows, or in
    # it while it does not reach their ends.
    is_anew: bool


def messages_of(path: Sequence[int], *having: Q) -> list[Message]:
    """The messages of a path (those `having` something) in its order, with streams; one query."""
    found = Message.objects.filter(*having).select_related("stream").in_bulk(path)
    return [found[pk] for pk in path if pk in found]


def changes_since(
    conversation: Conversation, *, version: int, leaf_id: int | None, first: int, last: int = 0
) -> Changes:
    """What a page lacks that shows the path to `leaf_id`, from `first` to `last`, as of `version`.

    From its root, if `first` is not in it; to its end, if `last` is not in it. Two queries.
    """
    tree = Tree.of(conversation.pk)
    shown = tree.path_to(leaf_id)
    newest = tree.path_to(conversation.leaf_id)
    start = shown.index(first) if first in shown else 0
    stop = shown.index(last) + 1 if last in shown else 0
    common = sum(1 for old, new in zip(shown, newest, strict=False) if old == new)
    is_newer = Q(version__gt=version) | Q(rating_version__gt=version)
    # What follows a page that does not reach the end is not put under it.
    drawn = tree.messages(newest[start : stop or None], is_newer | Q(pk__in=newest[common:]))
    added = set(newest[common:])
    stayed = [message for message in drawn if message.pk not in added]
    return Changes(
        removed=shown[max(start, common) : stop or None],
        changed=[message for message in stayed if message.version > version],
        rated=[message for message in stayed if message.version <= version],
        added=[message for message in drawn if message.pk in added],
        first=newest[start] if len(newest) > start else 0,
        last=last if stop else 0,
        is_anew=common < max(start, stop),
    )

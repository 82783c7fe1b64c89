"""The versions that open pages watch: of a conversation, and of a user's list of conversations."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F

from streaming.topics import topic, touch

from .models import Conversation, ConversationQuerySet


def conversation_changed(conversation_id: UUID) -> int:
    """Raise the versions of a conversation and of its owner; return the conversation's new one.

    Call it inside the transaction of the change: its update is the lock that puts two changes of
    one conversation in order. Pages are told after the commit.
    """
    conversations = Conversation.objects.filter(pk=conversation_id)
    conversations.update(version=F("version") + 1)
    owner_id, version = conversations.values_list("owner_id", "version").get()
    transaction.on_commit(lambda: touch(f"conversation:{conversation_id}", version))
    list_changed(owner_id)
    return version


def conversations_changed(conversations: ConversationQuerySet, owner_id: Any) -> int:
    """As `conversation_changed`, for several of one owner; how many there are."""
    # In one order: two of these must not wait for each other.
    locked = conversations.select_for_update().order_by("pk")
    versions = dict(locked.values_list("pk", "version"))
    if versions:
        conversations.update(version=F("version") + 1)
        for pk, version in versions.items():
            transaction.on_commit(partial(touch, f"conversation:{pk}", version + 1))
        list_changed(owner_id)
    return len(versions)


def list_changed(user_id: Any) -> int:
    """Raise the version of a user's list of conversations alone; return it. As above."""
    users = get_user_model()._default_manager.filter(pk=user_id)
    users.update(version=F("version") + 1)
    version: int = users.values_list("version", flat=True).get()
    transaction.on_commit(lambda: touch(f"user:{user_id}", version))
    return version


def _uuids(keys: list[str]) -> list[UUID]:
    found = []
    for key in keys:
        try:
            found.append(UUID(key))
        except ValueError:
            continue
    return found


def _may_watch_conversation(user: Any, key: str) -> bool:
    return Conversation.objects.owned_by(user).filter(pk__in=_uuids([key])).exists()


def _conversation_versions(keys: list[str]) -> dict[str, int]:
    rows = Conversation.objects.visible().filter(pk__in=_uuids(keys))
    return {str(pk): version for pk, version in rows.values_list("pk", "version")}


def _may_watch_user(user: Any, key: str) -> bool:
    return bool(user.is_authenticated) and str(user.pk) == key


def _user_versions(keys: list[str]) -> dict[str, int]:
    users = get_user_model()._default_manager.filter(
        pk__in=[key for key in keys if key.isdigit()], is_active=True
    )
    return {str(pk): version for pk, version in users.values_list("pk", "version")}


def register() -> None:
    """Tell `streaming` of both kinds of topic."""
    topic("conversation", may_watch=_may_watch_conversation, versions=_conversation_versions)
    topic("user", may_watch=_may_watch_user, versions=_user_versions)

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from conversations import actions
from conversations.models import Conversation
from conversations.topics import conversation_changed
from streaming.topics import current_versions, find


def may_watch(user, topic: str) -> bool:
    kind, key = find(topic)
    return kind.may_watch(user, key)


def test_a_change_raises_both_versions_by_one(owner):
    pk = actions.start_conversation(owner, "Hello", key=uuid4()).conversation.pk
    topics = [f"conversation:{pk}", f"user:{owner.pk}"]
    before = current_versions(topics)
    assert conversation_changed(pk) == before[topics[0]] + 1
    assert current_versions(topics) == {topic: before[topic] + 1 for topic in topics}


def test_only_the_owner_may_watch(owner, stranger):
    pk = actions.start_conversation(owner, "Hello", key=uuid4()).conversation.pk
    for topic in (f"conversation:{pk}", f"user:{owner.pk}"):
        assert may_watch(owner, topic)
        assert not may_watch(stranger, topic)
        assert not may_watch(AnonymousUser(), topic)


def test_a_deleted_conversation_cannot_be_watched(owner):
    pk = actions.start_conversation(owner, "Hello", key=uuid4()).conversation.pk
    Conversation.objects.update(deleted_at=timezone.now())
    assert not may_watch(owner, f"conversation:{pk}")
    assert current_versions([f"conversation:{pk}"]) == {}


def test_nonsense_keys_have_no_version(owner):
    assert not may_watch(owner, "conversation:nonsense")
    assert current_versions(["conversation:nonsense", "user:x", "user:", "other:1"]) == {}

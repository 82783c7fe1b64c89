from __future__ import annotations

import time
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from conversations import actions, purging
from conversations.actions import retry, start_conversation
from conversations.exceptions import Deleted
from conversations.keeping import delete_all, delete_conversation, restorable, restore
from conversations.models import Conversation, Message, Role, Submission
from conversations.purging import purge, purge_deleted
from streaming import actions as streams
from streaming.models import Chunk, EndReason, Status, Stream
from tests.streaming.rows import write

pytestmark = pytest.mark.django_db

EVERYTHING = (Conversation, Message, Submission, Stream, Chunk)


@pytest.fixture(autouse=True)
def too_late(settings) -> None:
    """Undo is over as soon as something is deleted."""
    settings.UNDO_SECONDS = -60


@pytest.fixture
def chat(owner) -> Conversation:
    """A conversation with an answer that was stopped and one that runs."""
    sent = start_conversation(owner, "Hello", key=uuid4())
    assert sent.answer.stream
    write(sent.answer.stream, "one ", "two ", "three")
    streams.stop(sent.answer.stream)
    second = retry(sent.answer, key=uuid4())
    assert second.stream
    write(second.stream, "again")
    return Conversation.objects.get(pk=sent.conversation.pk)


def counts() -> list[int]:
    return [model.objects.count() for model in EVERYTHING]


def test_deleting_hides_at_once_and_stops_what_runs(chat: Conversation) -> None:
    before = chat.version
    assert delete_conversation(chat)
    assert not delete_conversation(chat)
    chat.refresh_from_db()
    assert chat.version == before + 1
    assert not Conversation.objects.visible().exists()
    running = Stream.objects.order_by("created_at").last()
    assert running
    assert (running.status, running.end_reason) == (Status.STOPPED, EndReason.DELETED)
    # The other answer keeps its first end.
    assert Stream.objects.filter(end_reason=EndReason.USER).count() == 1


def test_a_message_that_was_on_its_way_starts_nothing(chat: Conversation) -> None:
    stale = Conversation.objects.get(pk=chat.pk)
    answer = Message.objects.select_related("conversation", "parent").get(pk=chat.leaf_id)
    delete_conversation(chat)
    before = counts()
    with pytest.raises(Deleted):
        actions.send_message(stale, "too late", key=uuid4())
    with pytest.raises(Deleted):
        actions.retry(answer, key=uuid4())
    assert counts() == before


def test_nothing_is_left_and_nothing_else_is_touched(chat: Conversation, owner) -> None:
    kept = start_conversation(owner, "Keep me", key=uuid4())
    assert kept.answer.stream
    write(kept.answer.stream, "kept")
    delete_conversation(chat)
    assert purge_deleted() == 1
    assert counts() == [1, 2, 1, 1, 1]
    assert purge_deleted() == 0


def test_a_deletion_is_undone_with_its_answers_stopped(chat: Conversation, owner) -> None:
    before = counts()
    delete_conversation(chat)
    found = restorable(owner.pk).first()
    assert found
    assert restore(found)
    assert not restore(found)
    chat.refresh_from_db()
    assert chat.deleted_at is None
    assert chat.version == found.version + 1
    newest = Message.objects.select_related("stream").get(pk=chat.leaf_id)
    # Pages that showed it running get it again, and it can go on.
    assert newest.version == chat.version
    assert (newest.stream.status, newest.stream.end_reason) == (Status.STOPPED, EndReason.USER)
    assert newest.content == "again"
    assert newest.can_continue
    assert purge_deleted() == 0
    assert counts() == before


def test_what_may_be_undone_is_not_purged(chat: Conversation, settings) -> None:
    settings.UNDO_SECONDS = 60
    before = counts()
    delete_conversation(chat)
    assert purge_deleted() == 0
    assert counts() == before
    settings.UNDO_SECONDS = -60
    assert purge_deleted() == 1


def test_what_a_purge_has_begun_with_does_not_come_back(chat: Conversation, owner) -> None:
    delete_conversation(chat)
    found = restorable(owner.pk).first()
    assert not purge(chat.pk, until=time.monotonic() - 1)
    assert not restorable(owner.pk).exists()
    assert found
    assert not restore(found)
    assert not Conversation.objects.visible().exists()


def test_an_operator_deletes_for_good(chat: Conversation, owner, settings) -> None:
    settings.UNDO_SECONDS = 60
    delete_conversation(chat, for_good=True)
    assert not restorable(owner.pk).exists()
    assert purge_deleted() == 1


def test_a_stranger_brings_nothing_back(chat: Conversation, stranger) -> None:
    delete_conversation(chat)
    assert not restorable(stranger.pk).exists()


def test_what_is_not_deleted_is_not_purged(chat: Conversation) -> None:
    before = counts()
    assert purge(chat.pk)
    assert counts() == before


@pytest.mark.django_db(transaction=True)
def test_a_purge_that_was_cut_short_goes_on_wherever_it_stopped(
    chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query of the purge once is the last one before the process dies."""
    delete_conversation(chat)
    monkeypatch.setattr(purging, "PAGE_MESSAGES", 1)
    monkeypatch.setattr(streams, "DELETE_PAGE_CHUNKS", 2)
    deaths = 0
    while True:
        left = deaths + 1

        def die_in_time(execute, sql, params, many, context):
            nonlocal left
            left -= 1
            if not left:
                raise SystemExit
            return execute(sql, params, many, context)

        try:
            with connection.execute_wrapper(die_in_time):
                purge_deleted()
            break
        except SystemExit:
            deaths += 1
            orphans = Stream.objects.filter(message=None)
            assert not orphans.exists()
    assert deaths > 10
    assert counts() == [0, 0, 0, 0, 0]


def test_a_chore_stops_when_its_time_is_up(chat: Conversation) -> None:
    delete_conversation(chat)
    before = counts()
    assert not purge(chat.pk, until=time.monotonic() - 1)
    assert counts() == before


def test_a_long_conversation_goes_in_pages(chat: Conversation) -> None:
    parent = chat.leaf
    for number in range(250):
        parent = Message.objects.create(
            conversation=chat, parent=parent, role=Role.USER, content=str(number)
        )
    delete_conversation(chat)
    with CaptureQueriesContext(connection) as queries:
        purge(chat.pk)
    deletes = [q for q in queries if q["sql"].startswith('DELETE FROM "conversations_message"')]
    assert len(deletes) >= 3
    assert not Message.objects.exists()


def test_all_chats_go_together_and_come_back_together(chat: Conversation, owner, stranger) -> None:
    archived = start_conversation(owner, "Archived", key=uuid4()).conversation
    Conversation.objects.filter(pk=archived.pk).update(archived_at=chat.created_at)
    before = counts()
    alone = start_conversation(owner, "Deleted before", key=uuid4()).conversation
    delete_conversation(alone)
    theirs = start_conversation(stranger, "Theirs", key=uuid4())
    version = Conversation.objects.get(pk=chat.pk).version
    time.sleep(0.01)
    assert delete_all(owner) == 2
    assert delete_all(owner) == 0
    together = Conversation.objects.filter(pk__in=[chat.pk, archived.pk])
    assert together.order_by().values("deleted_at").distinct().count() == 1
    # Stopped are those of the person alone.
    assert list(Stream.objects.open()) == [theirs.answer.stream]
    assert Stream.objects.filter(end_reason=EndReason.DELETED).count() == 3

    chat.refresh_from_db()
    assert restore(chat) == 2
    assert restore(chat) == 0
    assert set(Conversation.objects.owned_by(owner)) == {chat, archived}
    chat.refresh_from_db()
    assert chat.version == version + 2
    newest = Message.objects.select_related("stream").get(pk=chat.leaf_id)
    assert newest.version == chat.version
    assert newest.stream
    assert newest.stream.end_reason == EndReason.USER
    # What was deleted by another act stays deleted.
    assert purge_deleted() == 1
    theirs.conversation.delete()
    Stream.objects.filter(pk=theirs.answer.stream_id).delete()
    assert counts()[:2] == before[:2]


def test_of_many_chats_one_that_the_purge_took_stays_gone(chat: Conversation, owner) -> None:
    other = start_conversation(owner, "Other", key=uuid4()).conversation
    delete_all(owner)
    assert not purge(chat.pk, until=time.monotonic() - 1)
    assert restore(chat) == 1
    assert list(Conversation.objects.owned_by(owner)) == [other]


def test_a_hundred_chats_cost_no_more_queries_than_two(owner) -> None:
    costs = []
    for number in (2, 100):
        for _ in range(number):
            chat = start_conversation(owner, "Hello", key=uuid4()).conversation
        Stream.objects.update(status=Status.DONE, ended_at=chat.created_at)
        with CaptureQueriesContext(connection) as deleting:
            assert delete_all(owner) == number
        with CaptureQueriesContext(connection) as restoring:
            assert restore(Conversation.objects.get(pk=chat.pk)) == number
        delete_all(owner)
        purge_deleted()
        costs.append((len(deleting), len(restoring)))
    assert costs[0] == costs[1]

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from streaming import actions, appending, claims, generators, verifying
from streaming.appending import Append, Outcome
from streaming.exceptions import UnknownGenerator
from streaming.models import Chunk, EndReason, Status, Stream
from streaming.reader import text_of

from .rows import write, write_nothing

pytestmark = pytest.mark.django_db


class Hook:
    """An on_end hook that keeps what it was given and can be told to fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[UUID, str, str]] = []
        self.error: Exception | None = None

    def __call__(self, stream: Stream, text: str) -> None:
        if self.error:
            # A write of a hook that fails must not outlive it.
            Chunk.objects.filter(stream=stream).delete()
            raise self.error
        self.calls.append((stream.pk, stream.status, text))


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    generators.generator("tests.actions", on_end=hook)(write_nothing)
    yield hook
    generators._registry.pop("tests.actions", None)


@pytest.fixture
def stream(hook: Hook) -> Stream:
    return actions.create("tests.actions", autostart=False)


# --- create, start


def test_a_new_stream_is_pending_and_its_start_requested(hook: Hook) -> None:
    stream = actions.create("tests.actions", {"subject": "é"})
    stream.refresh_from_db()
    assert stream.status == Status.PENDING
    assert stream.params == {"subject": "é"}
    assert list(Stream.objects.startable()) == [stream]


def test_an_unknown_generator_is_refused_by_name(db: None) -> None:
    with pytest.raises(UnknownGenerator, match=r"tests\.nobody"):
        actions.create("tests.nobody")
    assert not Stream.objects.exists()


def test_without_autostart_it_waits_for_start(stream: Stream) -> None:
    assert not Stream.objects.startable().exists()
    assert actions.start(stream)
    assert list(Stream.objects.startable()) == [stream]
    assert stream.start_requested_at is not None


def test_a_start_is_dispatched_once_and_after_commit(
    stream: Stream, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as dispatches:
        assert [actions.start(stream), actions.start(stream)] == [True, False]
    assert len(dispatches) == 1


def test_a_stream_that_starts_itself_is_not_started_by_hand(hook: Hook) -> None:
    assert not actions.start(actions.create("tests.actions"))


def test_an_ended_stream_is_not_started(stream: Stream) -> None:
    assert actions.stop(stream)
    assert not actions.start(stream)


@pytest.mark.django_db(transaction=True)
def test_of_ten_starts_at_once_one_wins(stream: Stream) -> None:
    outcomes: list[bool] = []
    gate = threading.Barrier(10)

    def start() -> None:
        gate.wait()
        try:
            outcomes.append(actions.start(Stream.objects.get(pk=stream.pk)))
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 9 + [True]


# --- stop, end


def test_stop_keeps_the_text_and_says_why(stream: Stream, hook: Hook) -> None:
    write(stream, "seen ", "text")
    assert actions.stop(stream, EndReason.OPERATOR)
    stream.refresh_from_db()
    assert (stream.status, stream.end_reason) == (Status.STOPPED, EndReason.OPERATOR)
    assert stream.ended_at is not None
    assert hook.calls == [(stream.pk, Status.STOPPED, "seen text")]


def test_the_first_end_stands(stream: Stream, hook: Hook) -> None:
    write(stream, "text")
    assert actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE, result={"tokens": 3})
    assert not actions.stop(stream)
    assert actions.end_stream(stream.pk, Status.ERROR, EndReason.CUT) is None
    stream.refresh_from_db()
    assert (stream.status, stream.result) == (Status.DONE, {"tokens": 3})
    assert len(hook.calls) == 1


def test_only_the_writer_of_the_newest_epoch_ends_a_stream(stream: Stream) -> None:
    write(stream, "text")
    assert actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE, epoch=0) is None
    ended = actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE, epoch=1)
    assert ended is not None
    assert ended.status == Status.DONE


@pytest.mark.parametrize("status", [Status.DONE, Status.ERROR, Status.TIMEOUT, Status.STOPPED])
def test_every_end_keeps_the_hash_of_the_text(stream: Stream, hook: Hook, status: Status) -> None:
    hook.error = RuntimeError("the hash does not hang on the hook")
    write(stream, "nä", "h 🧵\n")
    assert actions.end_stream(stream.pk, status, EndReason.COMPLETE)
    stream.refresh_from_db()
    assert stream.sha256 == hashlib.sha256("näh 🧵\n".encode()).hexdigest()


def test_a_stream_without_a_generator_or_a_text_gets_a_hash_too(stream: Stream) -> None:
    generators._registry.pop("tests.actions")
    actions.stop(stream)
    stream.refresh_from_db()
    assert stream.sha256 == hashlib.sha256(b"").hexdigest()


def test_an_end_of_an_unknown_stream_is_lost(hook: Hook) -> None:
    nowhere = UUID(int=0)
    assert actions.end_stream(nowhere, Status.ERROR, EndReason.FAILED) is None


def test_a_long_detail_is_cut_to_what_can_be_stored(stream: Stream) -> None:
    ended = actions.end_stream(stream.pk, Status.ERROR, EndReason.PROVIDER, "a\0" * 900)
    assert ended is not None
    assert ended.end_detail == "a\ufffd" * 250


def test_an_end_outlives_its_failing_hook_and_the_hook_is_tried_again(
    stream: Stream, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    write(stream, "text")
    hook.error = IntegrityError("DETAIL: (people's text)")
    with caplog.at_level(logging.ERROR):
        ended = actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
    assert ended is not None
    assert ended.hook_pending
    assert "IntegrityError" in caplog.text
    assert "people's text" not in caplog.text

    assert not actions.retry_hook(ended)
    stream.refresh_from_db()
    assert (stream.status, stream.hook_pending) == (Status.DONE, True)

    hook.error = None
    assert actions.retry_hook(stream)
    assert hook.calls == [(stream.pk, Status.DONE, "text")]
    assert not actions.retry_hook(stream)
    stream.refresh_from_db()
    assert not stream.hook_pending
    assert len(hook.calls) == 1


def test_the_end_belongs_to_the_callers_transaction(stream: Stream) -> None:
    with transaction.atomic():
        assert actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
        transaction.set_rollback(True)
    stream.refresh_from_db()
    assert stream.is_open


def test_a_stream_whose_generator_is_gone_still_ends(stream: Stream) -> None:
    generators._registry.pop("tests.actions")
    assert actions.stop(stream)
    stream.refresh_from_db()
    assert (stream.status, stream.hook_pending) == (Status.STOPPED, True)


# --- resume


def log_of(stream: Stream) -> list[tuple[int, str, int, datetime]]:
    return list(stream.chunks.order_by("start").values_list("start", "text", "epoch", "created_at"))


def test_a_resumed_text_is_a_new_stream_s_and_the_ended_row_is_gone(
    stream: Stream, hook: Hook, owner: Any
) -> None:
    Stream.objects.filter(pk=stream.pk).update(owner=owner, params={"subject": "tea"})
    write(stream, "seen ", "text")
    written = log_of(stream)
    actions.stop(stream)
    fresh = actions.resume(stream)
    assert fresh is not None
    fresh.refresh_from_db()
    assert list(Stream.objects.startable()) == [fresh]
    assert fresh.pk != stream.pk
    assert (fresh.length, fresh.epoch, fresh.owner, fresh.params) == (
        9,
        0,
        owner,
        {"subject": "tea"},
    )
    assert log_of(fresh) == [(start, text, 0, at) for start, text, _epoch, at in written]
    assert not verifying.check(fresh.pk)
    assert len(hook.calls) == 1


def test_other_parameters_replace_those_of_the_ended_stream(stream: Stream) -> None:
    write(stream, "text")
    actions.stop(stream)
    fresh = actions.resume(stream, {"subject": "coffee"})
    assert fresh is not None
    assert fresh.params == {"subject": "coffee"}


def test_what_refers_to_the_ended_stream_refers_to_the_new_one(stream: Stream, owner: Any) -> None:
    from conversations.models import Conversation, Message, Role

    conversation = Conversation.objects.create(owner=owner)
    message = Message.objects.create(conversation=conversation, role=Role.ASSISTANT, stream=stream)
    write(stream, "text")
    actions.stop(stream)
    fresh = actions.resume(stream)
    message.refresh_from_db()
    assert message.stream == fresh


def test_only_an_ended_stream_with_text_is_resumed_and_once(stream: Stream) -> None:
    empty, running, deleted = (actions.create("tests.actions") for _ in range(3))
    actions.stop(empty)
    write(running, "text")
    write(deleted, "text")
    actions.stop(deleted, EndReason.DELETED)
    write(stream, "text")
    actions.stop(stream)
    before = Stream.objects.count()
    assert actions.resume(stream) is not None
    for one in (stream, empty, running, deleted):
        assert actions.resume(one) is None
    assert Stream.objects.count() == before
    assert Chunk.objects.count() == 3


def test_a_resumed_stream_is_dispatched_after_commit(
    stream: Stream, django_capture_on_commit_callbacks: Any
) -> None:
    write(stream, "text")
    actions.stop(stream)
    with django_capture_on_commit_callbacks() as dispatches:
        actions.resume(stream)
    assert len(dispatches) == 1


def test_the_text_stays_the_same_however_often_it_is_stopped_and_resumed(stream: Stream) -> None:
    """A reader of any of the streams has seen a prefix, and a claim's epoch never goes back."""
    said = ""
    former = uuid4()
    actions.start(stream)
    for n in range(6):
        claimed = claims.claim_pending(stream.pk)
        assert claimed is not None
        # The writer of the stream before is refused whatever it brings.
        late = Append(former, claimed.epoch, len(said), "never")
        text = Append(stream.pk, claimed.epoch, len(said), f"{n} ")
        assert appending.append([late, text]) == {
            former: Outcome.REFUSED,
            stream.pk: Outcome.ACCEPTED,
        }
        said += text.text
        assert actions.stop(stream)
        assert text_of(stream) == said
        assert not verifying.check(stream.pk)
        fresh = actions.resume(stream)
        assert fresh is not None
        former, stream = stream.pk, fresh
        assert text_of(stream) == said
        assert not verifying.check(stream.pk)
    assert Stream.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_ten_resumes_at_once_one_wins(stream: Stream) -> None:
    write(stream, "text")
    actions.stop(stream)
    outcomes: list[Stream | None] = []
    gate = threading.Barrier(10)

    def resume() -> None:
        gate.wait()
        try:
            outcomes.append(actions.resume(stream))
        finally:
            connection.close()

    threads = [threading.Thread(target=resume) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (fresh,) = filter(None, outcomes)
    assert len(outcomes) == 10
    assert list(Stream.objects.all()) == [fresh]
    assert text_of(fresh) == "text"


# --- delete


def test_delete_ends_an_open_stream_and_leaves_nothing(
    stream: Stream, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "DELETE_PAGE_CHUNKS", 2)
    other = actions.create("tests.actions")
    write(stream, "one ", "two ", "three ", "four ", "five")
    write(other, "stays")
    actions.delete(stream)
    assert hook.calls == [(stream.pk, Status.STOPPED, "one two three four five")]
    assert list(Stream.objects.all()) == [other]
    assert [chunk.text for chunk in Chunk.objects.all()] == ["stays"]
    actions.delete(stream)


def test_delete_takes_a_page_of_chunks_at_a_time(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "DELETE_PAGE_CHUNKS", 2)
    write(stream, *"abcde")
    actions.stop(stream)
    with CaptureQueriesContext(connection) as queries:
        actions.delete(stream)
    pages = [
        query["sql"]
        for query in queries
        if query["sql"].startswith("DELETE") and "start" in query["sql"]
    ]
    assert len(pages) == 2

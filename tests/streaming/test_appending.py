from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streaming import actions, claims, generators
from streaming.appending import Append, Outcome, append, beat, fenced
from streaming.models import Chunk, EndReason, Status, Stream
from streaming.normalise import normalise
from streaming.reader import text_of

from .rows import write_nothing

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _generator() -> Iterator[None]:
    generators.generator("tests.append")(write_nothing)
    yield
    generators._registry.pop("tests.append", None)


def claimed() -> Stream:
    stream = actions.create("tests.append")
    found = claims.claim_pending(stream.pk)
    assert found is not None
    return found


def only(appends: list[Append]) -> Outcome:
    (outcome,) = append(appends).values()
    return outcome


def test_it_appends_many_streams_in_one_statement_each_way(django_assert_num_queries) -> None:
    streams = [claimed() for _ in range(50)]
    # Savepoint in and out (the test's own transaction is around), one update, one insert.
    with django_assert_num_queries(4):
        outcomes = append(
            [Append(stream.pk, 1, 0, f"text {n}") for n, stream in enumerate(streams)]
        )
    assert set(outcomes.values()) == {Outcome.ACCEPTED}
    assert [text_of(stream) for stream in streams] == [f"text {n}" for n in range(50)]


def test_length_counts_code_points() -> None:
    stream = claimed()
    assert only([Append(stream.pk, 1, 0, "é😀字")]) is Outcome.ACCEPTED
    stream.refresh_from_db()
    assert stream.length == 3
    assert stream.first_text_at is not None
    assert only([Append(stream.pk, 1, 3, "!")]) is Outcome.ACCEPTED


@pytest.mark.parametrize(("epoch", "start"), [(0, 2), (2, 2), (1, 0), (1, 1), (1, 3)])
def test_it_refuses_another_epoch_or_offset(epoch: int, start: int) -> None:
    stream = claimed()
    append([Append(stream.pk, 1, 0, "ab")])
    assert only([Append(stream.pk, epoch, start, "xy")]) is Outcome.REFUSED
    assert text_of(stream) == "ab"


@pytest.mark.parametrize("status", [Status.DONE, Status.ERROR, Status.TIMEOUT, Status.STOPPED])
def test_it_refuses_after_any_end(status: Status) -> None:
    stream = claimed()
    assert actions.end_stream(stream.pk, status, EndReason.USER) is not None
    assert only([Append(stream.pk, 1, 0, "late")]) is Outcome.REFUSED
    assert not Chunk.objects.exists()


def test_it_refuses_what_was_deleted_and_what_is_pending() -> None:
    pending = actions.create("tests.append")
    gone = claimed()
    actions.delete(gone)
    outcomes = append([Append(pending.pk, 0, 0, "x"), Append(gone.pk, 1, 0, "x")])
    assert set(outcomes.values()) == {Outcome.REFUSED}


def test_a_repeated_batch_is_settled_not_doubled() -> None:
    stream = claimed()
    batch = [Append(stream.pk, 1, 0, "once")]
    assert only(batch) is Outcome.ACCEPTED
    assert only(batch) is Outcome.ACCEPTED
    assert text_of(stream) == "once"
    # Also when more was written, or the stream ended, since the lost answer.
    append([Append(stream.pk, 1, 4, " more")])
    actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
    assert only(batch) is Outcome.ACCEPTED
    assert text_of(stream) == "once more"


def test_one_text_that_cannot_be_stored_does_not_hold_up_the_others() -> None:
    good, bad = claimed(), claimed()
    # What no database driver can encode; the normaliser keeps it from here.
    outcomes = append([Append(good.pk, 1, 0, "good"), Append(bad.pk, 1, 0, "\ud800")])
    assert outcomes == {good.pk: Outcome.ACCEPTED, bad.pk: Outcome.UNSTORABLE}
    assert text_of(good) == "good"
    bad.refresh_from_db()
    assert (bad.length, text_of(bad)) == (0, "")


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(min_size=1, max_size=8), max_size=12), st.randoms(use_true_random=False))
def test_any_order_of_tries_leaves_the_text_of_the_accepted(
    pieces: list[str], chance: random.Random
) -> None:
    """Writers of two epochs and repeated batches: what was accepted is the text, once each."""
    stream = claimed()
    epoch, expected, last = 1, "", None
    # What the normaliser lets through is all that a journal is ever given.
    for piece in filter(None, map(normalise, pieces)):
        if chance.random() < 0.3:
            taken = claims.claim_abandoned(stream.pk, epoch, 1)
            if taken is None or not taken.is_open:
                break
            stale, epoch, last = epoch, taken.epoch, None
            assert only([Append(stream.pk, stale, len(expected), "stale")]) is Outcome.REFUSED
        one = Append(stream.pk, epoch, len(expected), piece)
        assert only([one]) is Outcome.ACCEPTED
        expected, last = expected + piece, one
        if last is not None and chance.random() < 0.3:
            assert only([last]) is Outcome.ACCEPTED
    assert text_of(stream) == expected
    assert Stream.objects.get(pk=stream.pk).length == len(expected)


def test_a_beat_raises_only_streams_of_the_writers_epoch() -> None:
    mine, other, done = claimed(), claimed(), claimed()
    actions.end_stream(done.pk, Status.DONE, EndReason.COMPLETE)
    beat([(mine.pk, 1), (other.pk, 7), (done.pk, 1)])
    assert [Stream.objects.get(pk=one.pk).beat for one in (mine, other, done)] == [2, 1, 1]


def test_a_late_beat_does_not_take_back_a_release() -> None:
    stream = claimed()
    claims.release(stream)
    beat([(stream.pk, 1)])
    assert Stream.objects.get(pk=stream.pk).beat == claims.RELEASED


def test_fenced_names_what_another_ended_claimed_or_deleted() -> None:
    mine, ended, taken, gone = claimed(), claimed(), claimed(), claimed()
    actions.stop(ended)
    claims.claim_abandoned(taken.pk, 1, 1)
    actions.delete(gone)
    pairs = [(one.pk, 1) for one in (mine, ended, taken, gone)]
    assert fenced(pairs) == {ended.pk, taken.pk, gone.pk}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_a_locked_row_waits_for_the_next_tick_and_holds_up_no_other() -> None:
    free, locked = claimed(), claimed()
    batch = [Append(free.pk, 1, 0, "free"), Append(locked.pk, 1, 0, "locked")]
    is_locked, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Stream.objects.select_for_update().get(pk=locked.pk)
            is_locked.set()
            may_go.wait(10)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert is_locked.wait(10)
        outcomes = append(batch)
    finally:
        may_go.set()
        holder.join()
    assert outcomes == {free.pk: Outcome.ACCEPTED, locked.pk: Outcome.SKIPPED}
    # Unchanged again: settled for the one, taken for the other.
    assert set(append(batch).values()) == {Outcome.ACCEPTED}
    assert (text_of(free), text_of(locked)) == ("free", "locked")

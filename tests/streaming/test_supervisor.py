from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from streaming import actions, appending, claims, supervisor
from streaming.appending import Append
from streaming.claims import Sweeper
from streaming.exceptions import StreamFailed
from streaming.generators import End
from streaming.hub import get_hub
from streaming.models import EndReason, Status, Stream
from streaming.signals import runner_starting

from .live import ended, row, running_supervisor, tap, text, until

pytestmark = pytest.mark.django_db(transaction=True)

create = sync_to_async(actions.create)
stop = sync_to_async(actions.stop)


async def test_a_created_stream_runs_and_ends_done() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("Hello", " world", End(EndReason.LENGTH, result={"usage": 3}))
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.DONE, EndReason.LENGTH)
        assert final.result == {"usage": 3}
        assert await text(stream) == "Hello world"
        assert final.length == 11
        assert final.started_at is not None


async def test_a_return_is_the_end_and_text_is_normalised() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("a\r", "\nb\x00", "\ud83d", "\ude00", "c\r", None)
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.DONE, EndReason.COMPLETE)
        assert await text(stream) == "a\nb\ufffd😀c\n"


async def test_text_is_committed_while_the_generator_runs() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("no full stop here")
        await until(lambda: text(stream))
        assert (await row(stream)).status == Status.STREAMING
        generator.say(None)
        await ended(stream)


@pytest.mark.parametrize(
    ("failure", "reason", "sentence"),
    [
        (StreamFailed(EndReason.PROVIDER, "It is down."), EndReason.PROVIDER, "It is down."),
        (RuntimeError("secret"), EndReason.FAILED, str(EndReason.FAILED.label)),
    ],
)
async def test_a_failure_keeps_the_text(failure: Exception, reason: str, sentence: str) -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("partial", failure)
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.ERROR, reason)
        assert final.sentence == sentence
        assert await text(stream) == "partial"


async def test_a_stop_closes_the_generator_and_keeps_what_was_committed() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("seen")
        await until(lambda: text(stream))
        assert await stop(stream)
        async with asyncio.timeout(1):
            await generator.closed.wait()
        generator.say("never")
        final = await row(stream)
        assert (final.status, await text(stream)) == (Status.STOPPED, "seen")
        assert not await stop(stream)


async def test_a_stop_by_another_process_is_noticed_without_a_hint() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("seen")
        await until(lambda: text(stream))
        await Stream.objects.filter(pk=stream.pk).aupdate(
            status=Status.STOPPED, end_reason=EndReason.USER, ended_at=timezone.now()
        )
        async with asyncio.timeout(2):
            await generator.closed.wait()


async def test_the_end_hook_runs_once_and_a_failing_one_is_retried() -> None:
    calls: list[str] = []

    def on_end(stream: Stream, body: str) -> None:
        calls.append(body)
        if len(calls) == 1:
            raise RuntimeError("not yet")

    async with running_supervisor() as running, tap(on_end=on_end) as generator:
        stream = await create("tests.tap")
        generator.say("text", None)
        final = await ended(stream)
        assert final.hook_pending
        await running.sweep_once()
        assert not (await row(stream)).hook_pending
        assert calls == ["text", "text"]
        await running.sweep_once()
        assert len(calls) == 2


async def test_the_writer_waits_when_too_much_is_uncommitted(settings) -> None:
    settings.STREAMING_MAX_UNCOMMITTED_CHARS = 1_000
    settings.STREAMING_TICK_SECONDS = 0.2
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say(*["x" * 600 for _ in range(10)], None)
        final = await ended(stream)
        assert final.length == 6_000
        # Between two commits no more than the limit and one piece gathered.
        sizes = [len(one) async for one in stream.chunks.values_list("text", flat=True)]
        assert max(sizes) <= 1_600


async def test_text_above_the_cap_ends_done_with_cap(settings) -> None:
    settings.STREAMING_MAX_CHARS = 100
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("x" * 60, "y" * 60, "z")
        final = await ended(stream)
        assert (final.status, final.end_reason, final.length) == (Status.DONE, EndReason.CAP, 120)
        await generator.closed.wait()


async def test_a_silent_generator_is_ended_as_idle(settings) -> None:
    settings.STREAMING_IDLE_SECONDS = 0.2
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("then nothing")
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.ERROR, EndReason.IDLE)
        assert await text(stream) == "then nothing"


async def test_apps_may_load_what_a_first_answer_needs(settings) -> None:
    settings.STREAMING_RUNNER = "embedded"
    told: list[object] = []

    def load(**kwargs: object) -> None:
        told.append(supervisor.running_supervisor())
        raise RuntimeError("is logged, and keeps nobody from starting")

    runner_starting.connect(load)
    try:
        await supervisor.start()
        running = supervisor.running_supervisor()
    finally:
        runner_starting.disconnect(load)
    assert running is not None
    await running.drain(0)
    await get_hub().close()
    supervisor._supervisor = None
    assert told == [None]


async def test_owners_take_turns(settings, owner, stranger) -> None:
    settings.STREAMING_MAX_CONCURRENT = 1
    async with running_supervisor(), tap() as generator:
        first = await create("tests.tap", owner=owner)
        await generator.started.wait()
        mine = [await create("tests.tap", owner=owner) for _ in range(3)]
        theirs = await create("tests.tap", owner=stranger)
        for _ in range(5):
            generator.say("x", None)
        finals = [await ended(stream) for stream in (first, *mine, theirs)]
        order = sorted(finals, key=lambda final: final.ended_at)
        # One of the owner's waits in front; then it is the stranger's turn.
        assert order.index(finals[4]) <= 2


async def test_a_claim_that_another_won_frees_its_place(settings) -> None:
    settings.STREAMING_MAX_CONCURRENT = 1
    async with running_supervisor() as running, tap() as generator:
        taken = await create("tests.tap", autostart=False)
        await Stream.objects.filter(pk=taken.pk).aupdate(status=Status.STREAMING, epoch=1, beat=1)
        generator.say("mine", None)
        running.request(taken.pk, None)
        waiting = await create("tests.tap")
        assert (await ended(waiting)).status == Status.DONE


async def test_a_failure_is_logged_without_its_message(caplog) -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say(RuntimeError("what the person wrote"))
        await ended(stream)
    assert "RuntimeError" in caplog.text
    assert "what the person wrote" not in caplog.text


async def test_a_cancelled_task_of_the_generator_is_its_failure() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("partial", asyncio.CancelledError())
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.ERROR, EndReason.FAILED)
        assert await text(stream) == "partial"


# --- After a crash


async def abandoned(committed: str, **fields: object) -> Stream:
    """A stream as a killed process leaves it."""
    stream = await create("tests.tap", autostart=False)
    stream.epoch = 1
    await Stream.objects.filter(pk=stream.pk).aupdate(
        status=Status.STREAMING,
        epoch=1,
        beat=9,
        length=len(committed),
        first_text_at=timezone.now() if committed else None,
        **fields,
    )
    if committed:
        await stream.chunks.acreate(start=0, text=committed, epoch=1, created_at=timezone.now())
    return stream


async def test_an_abandoned_stream_without_text_runs_again(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap() as generator:
        stream = await abandoned("")
        async with running_supervisor():
            generator.say("again", None)
            final = await ended(stream)
            assert (final.status, final.epoch, await text(stream)) == (Status.DONE, 2, "again")


async def test_an_abandoned_stream_waits_for_no_room(settings) -> None:
    settings.STREAMING_MAX_CONCURRENT = 1
    settings.STREAMING_ABANDONED_SECONDS = 0.05
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with (
        tap() as busy,
        tap("tests.other", carries_on=True) as generator,
        running_supervisor(),
    ):
        await create("tests.tap")
        await busy.started.wait()
        stream = await abandoned("half ", generator="tests.other")
        generator.say("an answer", None)
        final = await ended(stream)
        assert final.status == Status.DONE
        assert await text(stream) == "half an answer"
        busy.say(None)


async def test_an_abandoned_stream_carries_on_in_the_same_text(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap(carries_on=True) as generator:
        stream = await abandoned("Hello")
        async with running_supervisor():
            generator.say(" world", None)
            final = await ended(stream)
            assert (final.status, await text(stream)) == (Status.DONE, "Hello world")
            assert generator.given == ["Hello"]
            assert final.was_taken_over


async def test_one_that_cannot_carry_on_ends_timeout_with_its_text(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap() as generator:
        stream = await abandoned("Hello")
        async with running_supervisor():
            final = await ended(stream)
            assert (final.status, final.end_reason) == (Status.TIMEOUT, EndReason.LOST)
            assert await text(stream) == "Hello"
            assert generator.given == []


async def resumed(committed: str) -> Stream:
    """A stream that was stopped after `committed`, as a `resume` leaves it."""
    stream = await abandoned(committed)
    await stop(stream)
    fresh = await sync_to_async(actions.resume)(stream)
    assert fresh is not None
    return fresh


async def test_a_resumed_stream_is_given_its_text_and_goes_on_whoever_writes_it() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await resumed("Hello")
        generator.say(" world", None)
        final = await ended(stream)
        assert (final.status, await text(stream)) == (Status.DONE, "Hello world")
        assert generator.given == ["Hello"]
        assert not final.was_taken_over


async def test_a_resumed_stream_that_is_cut_before_new_text_runs_again(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap() as generator:
        stream = await resumed("Hello")
        await sync_to_async(claims.claim_pending)(stream.pk)
        async with running_supervisor():
            generator.say(" world", None)
            final = await ended(stream)
            assert (final.status, final.epoch) == (Status.DONE, 2)
            assert await text(stream) == "Hello world"


async def test_a_resumed_stream_that_is_cut_after_new_text_is_as_any_other(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap() as generator:
        stream = await resumed("Hello")
        await sync_to_async(claims.claim_pending)(stream.pk)
        await sync_to_async(appending.append)([Append(stream.pk, 1, 5, " wor")])
        async with running_supervisor():
            final = await ended(stream)
            assert (final.status, final.end_reason) == (Status.TIMEOUT, EndReason.LOST)
            assert await text(stream) == "Hello wor"
            assert generator.given == []


async def test_a_stream_without_a_new_writer_was_not_taken_over(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap(carries_on=True) as generator:
        stream = await abandoned("", started_at=timezone.now())
        async with running_supervisor():
            generator.say("one")
            await until(lambda: text(stream))
            # It was claimed a second time, but before its first text.
            assert not (await row(stream)).was_taken_over
            generator.say(None)
            await ended(stream)


async def test_the_fourth_claim_ends_the_stream(settings) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.1
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap():
        stream = await abandoned("")
        await Stream.objects.filter(pk=stream.pk).aupdate(epoch=3)
        async with running_supervisor():
            final = await ended(stream)
            assert (final.status, final.end_reason) == (Status.ERROR, EndReason.ATTEMPTS)


async def test_a_pending_stream_that_nobody_took_is_claimed(settings) -> None:
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap() as generator:
        stream = await create("tests.tap")
        async with running_supervisor():
            generator.say("late", None)
            assert (await ended(stream)).status == Status.DONE


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_a_pending_streams_grace_is_what_the_sweeper_saw_of_it(hours: int) -> None:
    """Whose clock requested the start, and how wrong it is, does not matter."""
    Stream.objects.create(generator="x", start_requested_at=timezone.now() + timedelta(hours=hours))
    now = [0.0]
    sweeper = Sweeper(clock=lambda: now[0])

    def round_at(seconds: float) -> bool:
        now[0] = seconds
        return bool(sweeper.round().startable)

    assert [round_at(s) for s in (100, 101, 101.9, 102.1)] == [False, False, False, True]


def test_the_sweep_needs_ten_unbroken_seconds_of_silence(owner) -> None:
    stream = Stream.objects.create(generator="x", status=Status.STREAMING, epoch=1, beat=5)
    now = [0.0]
    sweeper = Sweeper(clock=lambda: now[0])

    def round_at(seconds: float) -> bool:
        now[0] = seconds
        return bool(sweeper.round().abandoned)

    assert [round_at(s) for s in (0, 2, 4, 6, 8)] == [False] * 5
    # A beat begins the window anew.
    Stream.objects.filter(pk=stream.pk).update(beat=6)
    assert [round_at(s) for s in (10, 12, 14, 16, 18, 19.9)] == [False] * 6
    assert round_at(20.1)
    # So does a round that came late: this process may have slept, not the other.
    assert not round_at(40)
    # And one that failed.
    sweeper.forget()
    assert [round_at(s) for s in (42, 44, 46, 48, 50)] == [False] * 5


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Speaks SQLite")
def test_a_round_that_cannot_write_proves_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        with pytest.raises(Exception, match="readonly"):
            Sweeper().round()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")


def test_only_one_of_two_claims_wins() -> None:
    stream = Stream.objects.create(
        generator="x", status=Status.STREAMING, epoch=1, beat=5, start_requested_at=timezone.now()
    )
    assert claims.claim_abandoned(stream.pk, 1, 5) is not None
    assert claims.claim_abandoned(stream.pk, 1, 5) is None

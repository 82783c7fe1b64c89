from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from streaming import actions
from streaming.committing import Batch
from streaming.generators import End
from streaming.models import EndReason, Status

from .live import ended, row, running_supervisor, tap, text, until

pytestmark = pytest.mark.django_db(transaction=True)

create = sync_to_async(actions.create)


async def test_text_that_cannot_be_stored_ends_the_stream_and_its_generator() -> None:
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("good")
        await until(lambda: text(stream))
        # The place of the next text is taken, so the database refuses it.
        await stream.chunks.acreate(start=4, text="!", epoch=1, created_at=timezone.now())
        generator.say("bad", "worse")
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.ERROR, EndReason.STORAGE)
        # Nothing is put behind the hole, and the provider is read no further.
        assert final.length == 4
        async with asyncio.timeout(2):
            await generator.closed.wait()


async def test_an_end_that_cannot_be_stored_holds_up_no_other() -> None:
    async with running_supervisor(), tap() as poisoned, tap("tests.other") as other:
        first = await create("tests.tap")
        second = await create("tests.other")
        poisoned.say("kept", End(result={"usage": object()}))
        other.say("fine", None)
        final = await ended(first)
        assert (final.status, final.end_reason) == (Status.ERROR, EndReason.STORAGE)
        assert await text(first) == "kept"
        assert (await ended(second)).status == Status.DONE


async def test_a_listener_that_fails_stops_no_heartbeat(settings) -> None:
    settings.STREAMING_BEAT_SECONDS = 0.05
    settings.STREAMING_CHECK_SECONDS = 0.05

    def fail(streams: object) -> None:
        raise RuntimeError("listener")

    async with running_supervisor() as supervisor, tap() as ending, tap("tests.other") as lasting:
        supervisor.runs.journal._on_ended = fail
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        stays = await create("tests.other")
        lasting.say("text")
        await until(lambda: text(stays))
        goes = await create("tests.tap")
        ending.say("end", None)
        await ended(goes)
        before = (await row(stays)).beat

        async def beats() -> bool:
            return (await row(stays)).beat > before + 2

        await until(beats)


async def test_a_tick_that_is_waited_for_comes_although_nothing_is_written_any_more() -> None:
    async with running_supervisor() as supervisor, tap() as generator:
        journal = supervisor.runs.journal
        put, waiting = journal._committer.put, []

        def put_and_wait(batch: Batch) -> None:
            put(batch)
            if batch.ends:
                waiting.append(asyncio.ensure_future(journal.turn()))

        journal._committer.put = put_and_wait
        stream = await create("tests.tap")
        generator.say("all", None)
        await ended(stream)
        async with asyncio.timeout(2):
            await waiting[0]

"""What a shutdown does with the streams of its process, and how long it takes at most."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from streaming import actions, claims, generators
from streaming.models import EndReason, Status, Stream
from streaming.runs import CLEANUP_SECONDS, LAST_COMMIT_SECONDS

from .live import ended, row, running_supervisor, tap, text, until

pytestmark = pytest.mark.django_db(transaction=True)

create = sync_to_async(actions.create)

# What a drain may take beyond its time.
AT_MOST = LAST_COMMIT_SECONDS + 2 * CLEANUP_SECONDS + 0.5


async def test_a_drain_hands_over_what_carries_on() -> None:
    async with tap(carries_on=True) as generator:
        async with running_supervisor() as first:
            stream = await create("tests.tap")
            generator.say("one ")
            await until(lambda: text(stream))
            generator.say("two ")
            await until(generator.queue.empty)
            await first.drain(5)
        released = await row(stream)
        assert (released.status, released.beat) == (Status.STREAMING, claims.RELEASED)
        written = await text(stream)
        async with running_supervisor():
            generator.say("three", None)
            final = await ended(stream)
            assert final.was_taken_over
            assert final.status == Status.DONE
            assert await text(stream) == written + "three"
            assert generator.given == ["", written]


async def test_hand_overs_use_up_no_attempts(settings) -> None:
    settings.STREAMING_SWEEP_SECONDS = 0.05
    async with tap(carries_on=True) as generator:
        stream = await create("tests.tap", autostart=False)
        await sync_to_async(actions.start)(stream)
        await Stream.objects.filter(pk=stream.pk).aupdate(
            status=Status.STREAMING, epoch=1, beat=claims.RELEASED
        )
        for n in range(5):
            # However little time there is to shut down.
            async with running_supervisor():
                generator.say(f"{n} ")
                await until(lambda n=n: says(stream, "".join(f"{i} " for i in range(n + 1))))
        async with running_supervisor():
            generator.say("end", None)
            assert (await ended(stream)).status == Status.DONE
            assert await text(stream) == "0 1 2 3 4 end"


async def says(stream: Stream, body: str) -> bool:
    return await text(stream) == body


async def test_a_drain_lets_an_answer_end_and_interrupts_one_that_does_not() -> None:
    async with tap() as quick, tap("tests.slow") as slow:
        async with running_supervisor() as first:
            ending = await create("tests.tap")
            lasting = await create("tests.slow")
            quick.say("quick")
            slow.say("slow")
            await until(lambda: text(ending))
            await until(lambda: text(lasting))
            draining = asyncio.create_task(first.drain(0.5))
            quick.say(" end", None)
            await draining
        assert (await row(ending)).status == Status.DONE
        assert await text(ending) == "quick end"
        final = await row(lasting)
        assert (final.status, final.end_reason) == (Status.TIMEOUT, EndReason.LOST)
        assert await text(lasting) == "slow"


async def test_a_drained_supervisor_starts_nothing_more() -> None:
    async with tap() as generator:
        async with running_supervisor() as first:
            await first.drain(0)
            stream = await create("tests.tap")
            await asyncio.sleep(0)
            assert not generator.started.is_set()
        assert (await row(stream)).status == Status.PENDING


class Stuck:
    """A generator that yields one text and never ends its cleanup."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def __call__(self, stream, params, committed) -> AsyncIterator[str]:
        try:
            yield "seen"
            await asyncio.Event().wait()
        finally:
            await self.let_go.wait()


@pytest.mark.parametrize("carries_on", [True, False])
async def test_a_generator_that_hangs_in_its_cleanup_holds_up_neither_its_stream_nor_the_stop(
    carries_on: bool,
) -> None:
    stuck = Stuck()
    generators.generator("tests.stuck", carries_on=carries_on)(stuck)
    try:
        async with running_supervisor() as supervisor:
            stream = await create("tests.stuck")
            await until(lambda: text(stream))
            began = time.monotonic()
            await supervisor.drain(0.2)
            assert time.monotonic() - began < 0.2 + AT_MOST
            found = await row(stream)
            if carries_on:
                assert (found.status, found.beat) == (Status.STREAMING, claims.RELEASED)
            else:
                assert (found.status, found.end_reason) == (Status.TIMEOUT, EndReason.LOST)
            stuck.let_go.set()
    finally:
        generators._registry.pop("tests.stuck")


async def test_a_deadline_does_not_wait_for_a_cleanup_that_hangs(settings) -> None:
    settings.STREAMING_IDLE_SECONDS = 0.5
    stuck = Stuck()
    generators.generator("tests.stuck")(stuck)
    try:
        async with running_supervisor():
            stream = await create("tests.stuck")
            final = await ended(stream)
            assert (final.status, final.end_reason) == (Status.ERROR, EndReason.IDLE)
            stuck.let_go.set()
    finally:
        generators._registry.pop("tests.stuck")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="The lock is SQLite's")
async def test_a_locked_database_does_not_hold_up_a_stop() -> None:
    async with tap() as generator, running_supervisor() as supervisor:
        stream = await create("tests.tap")
        generator.say("seen")
        await until(lambda: text(stream))
        name = connection.settings_dict["NAME"]
        with closing(sqlite3.connect(name, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            generator.say(" not stored")
            began = time.monotonic()
            turns = 0

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0.01)
                    turns += 1

            counting = asyncio.create_task(count_turns())
            await supervisor.drain(0.2)
            took = time.monotonic() - began
            counting.cancel()
            other.execute("ROLLBACK")
        assert took < 0.2 + AT_MOST
        # The loop went on meanwhile: requests are answered until the end.
        assert turns > 100
        # Left to the sweep of another process.
        assert (await row(stream)).status == Status.STREAMING
        assert await text(stream) == "seen"
        await asyncio.to_thread(supervisor.runs.journal._committer._thread.join)

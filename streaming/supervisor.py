"""Who generates: claims streams, runs their generators, beats, sweeps, recovers, drains.

`run_stream` claims by a guarded update; everything else only decides when to call it. The sweep
compares no clocks: it takes a stream over when it has seen its (epoch, beat) unchanged for ten
seconds of its own monotonic time, over rounds that could all write.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError

from . import claims
from .conf import conf
from .exceptions import StreamFailed, UnknownGenerator, log_failure
from .executors import run_generator
from .generators import End, get_generator
from .hub import get_hub
from .journal import Journal
from .models import EndReason, Status, Stream
from .reader import text_of
from .writer import Writer

logger = logging.getLogger(__name__)

# What is left at the end of a drain gets so long to be committed.
LAST_COMMIT_SECONDS = 5


@dataclass
class Run:
    """A generator's task in this process."""

    stream: Stream
    owner_id: object
    task: asyncio.Task[None] | None = None
    writer: Writer | None = None
    started: float = 0.0
    last_item: float = 0.0
    # Why the task is being cancelled, if not because its writer was closed.
    verdict: tuple[Status, EndReason] | None = None
    releasing: bool = False


class Supervisor:
    """Runs the streams of one server process; lives on its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._hub = get_hub()
        self.journal = Journal(
            self._loop, on_committed=self._hub.committed, on_ended=self._hub.ended
        )
        self._hub.writes_here = self.journal.writes
        self._hub.on_outside_hint = self.journal.fenced
        self._runs: dict[UUID, Run] = {}
        # Requested streams by owner: taken in turn, so that no owner holds up the others.
        self._waiting: OrderedDict[object, deque[UUID]] = OrderedDict()
        self._starting = 0
        self._draining = False
        self._sweeper = claims.Sweeper()
        # Claims on their way, and the runs that they lead to.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rounds = [self._task(self._watch()), self._task(self._sweep())]

    # --- Requests

    def request_threadsafe(self, stream_id: UUID, owner_id: object) -> None:
        self._loop.call_soon_threadsafe(self.request, stream_id, owner_id)

    def request(self, stream_id: UUID, owner_id: object) -> None:
        """Run a pending stream as soon as there is room."""
        if self._draining:
            return
        self._waiting.setdefault(owner_id, deque()).append(stream_id)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and len(self._runs) + self._starting < conf.MAX_CONCURRENT:
            owner_id, ids = self._waiting.popitem(last=False)
            stream_id = ids.popleft()
            if ids:
                self._waiting[owner_id] = ids
            self._starting += 1
            self._spawn(self._claim_and_run(claims.claim_pending, stream_id))

    async def _claim_and_run(self, claim: Callable[..., Stream | None], *args: object) -> None:
        try:
            stream = await run_generator(claim, *args)
        except DatabaseError as error:
            logger.warning("A claim waits for the next sweep: %s", error)
            stream = None
        finally:
            self._starting -= 1
        if stream is None:
            pass
        elif not stream.is_open:
            # The claim was one too many and ended the stream.
            self._hub.ended([stream])
        elif self._draining:
            await run_generator(claims.release, stream.pk, stream.epoch)
        else:
            await self.run_stream(stream)
        self._start_waiting()

    # --- One stream

    async def run_stream(self, stream: Stream) -> None:
        """Run the generator of a stream that this process has claimed, to its end."""
        now = self._loop.time()
        run = Run(stream, stream.owner_id, asyncio.current_task(), started=now, last_item=now)
        task = run.task
        assert task is not None
        run.writer = writer = self.journal.open(stream, on_closed=lambda: self._cut(run))
        self._runs[stream.pk] = run
        try:
            status, end, detail = await self._generate(run, writer)
            await writer.end(status, end.reason, detail, end.result)
        except asyncio.CancelledError:
            await self._after_cancel(run, writer)
        finally:
            run.task = None
            writer.close()
            del self._runs[stream.pk]

    async def _generate(self, run: Run, writer: Writer) -> tuple[Status, End, str]:
        """Write what the generator yields; how it ended."""
        stream = run.stream
        try:
            generator = get_generator(stream.generator)
            committed = await run_generator(text_of, stream) if stream.length else ""
            if committed and not generator.carries_on(stream):
                return Status.TIMEOUT, End(EndReason.LOST), ""
            async with aclosing(generator.generate(stream, stream.params, committed)) as items:  # type: ignore[type-var]
                async for item in items:
                    run.last_item = self._loop.time()
                    if isinstance(item, End):
                        return Status.DONE, item, ""
                    if writer.write(item):
                        await writer.drain()
                    if writer.length >= conf.MAX_CHARS:
                        return Status.DONE, End(EndReason.CAP), ""
            return Status.DONE, End(), ""
        except StreamFailed as failure:
            return Status.ERROR, End(failure.reason), failure.detail
        except UnknownGenerator:
            logger.error("Stream %s names an unknown generator", stream.pk)
            return Status.ERROR, End(EndReason.FAILED), ""
        except Exception as error:
            log_failure(logger, error, "The generator of stream %s failed", stream.pk)
            return Status.ERROR, End(EndReason.FAILED), ""

    def _cut(self, run: Run) -> None:
        """The writer was closed from outside, or failed: stop reading the provider."""
        if run.task is not None and run.verdict is None and not run.releasing:
            writer = run.writer
            if writer is not None and writer.ended is None:
                if not writer.closed:
                    # The task stays, and beats, until the end is stored.
                    run.verdict = (Status.ERROR, EndReason.STORAGE)
                run.task.cancel()

    async def _after_cancel(self, run: Run, writer: Writer) -> None:
        task = run.task
        assert task is not None
        if run.verdict is not None:
            task.uncancel()
            status, reason = run.verdict
            await writer.end(status, reason)
        elif run.releasing:
            task.uncancel()
            await writer.flush()
            if not writer.closed:
                # First, so that no heartbeat of ours follows the release.
                writer.close()
                await run_generator(claims.release, run.stream.pk, run.stream.epoch)
        elif not writer.closed and writer.end_request is None:
            # Nobody here cancelled it: the error of a task that the generator awaited.
            await writer.end(Status.ERROR, EndReason.FAILED)

    # --- Deadlines, sweep

    async def _watch(self) -> None:
        """End generators that fell silent or take too long; checked each second."""
        while True:
            await asyncio.sleep(1)
            now = self._loop.time()
            for run in list(self._runs.values()):
                if run.verdict is not None or run.releasing or _is_ending(run):
                    continue
                has_text = run.last_item > run.started
                silence = conf.IDLE_SECONDS if has_text else conf.FIRST_TEXT_SECONDS
                if now - run.started > conf.TOTAL_SECONDS:
                    self._end_by_cancel(run, Status.ERROR, EndReason.DEADLINE)
                elif now - run.last_item > silence:
                    self._end_by_cancel(run, Status.ERROR, EndReason.IDLE)

    def _end_by_cancel(self, run: Run, status: Status, reason: EndReason) -> None:
        run.verdict = (status, reason)
        if run.task is not None:
            run.task.cancel()

    async def _sweep(self) -> None:
        while True:
            await self.sweep_once()
            await asyncio.sleep(conf.SWEEP_SECONDS)

    async def sweep_once(self) -> None:
        """One round: claim what waits or is abandoned, retry hooks."""
        try:
            found = await run_generator(self._sweeper.round, frozenset(self._runs))
        except Exception as error:
            # Whatever it was, the rounds go on: without them no lost stream would ever end.
            self._sweeper.forget()
            log_failure(logger, error, "A round of the sweep failed")
            return
        for stream_id, owner_id in found.startable:
            if not any(stream_id in ids for ids in self._waiting.values()):
                self.request(stream_id, owner_id)
        for stream_id, epoch, beat in found.abandoned:
            if len(self._runs) + self._starting < conf.MAX_CONCURRENT:
                self._starting += 1
                self._spawn(self._claim_and_run(claims.claim_abandoned, stream_id, epoch, beat))

    # --- Shutdown

    async def drain(self, timeout: float) -> None:
        """Let running answers end, hand over those that carry on, interrupt what is left.

        Takes at most `timeout` seconds, and a little for the last commit.
        """
        self._draining = True
        self._waiting.clear()
        await _cancel(self._rounds)
        for run in list(self._runs.values()):
            if not _is_ending(run) and _carries_on(run.stream) and run.task is not None:
                run.releasing = True
                run.task.cancel()
        await self._wait_for_tasks(timeout)
        for run in list(self._runs.values()):
            if not run.releasing and not _is_ending(run):
                self._end_by_cancel(run, Status.TIMEOUT, EndReason.LOST)
        await self._wait_for_tasks(LAST_COMMIT_SECONDS)
        await _cancel(self._tasks)
        self.journal.stop()

    async def _wait_for_tasks(self, timeout: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def _spawn(self, coroutine: Any) -> None:
        task = self._task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _task(self, coroutine: Any) -> asyncio.Task[Any]:
        # A fresh context: a task born in a request would inherit its thread and outlive it.
        return self._loop.create_task(coroutine, context=contextvars.Context())

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log_failure(logger, error, "A task of the supervisor failed")


def _is_ending(run: Run) -> bool:
    return run.writer is not None and run.writer.end_request is not None


def _carries_on(stream: Stream) -> bool:
    try:
        return get_generator(stream.generator).carries_on(stream)
    except Exception as error:
        # A shutdown goes on whatever a hook does.
        log_failure(logger, error, "carries_on of stream %s failed", stream.pk)
        return False


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        # Not for ever: a generator may hang in its cleanup.
        await asyncio.wait(tasks, timeout=LAST_COMMIT_SECONDS)


_supervisor: Supervisor | None = None


def running_supervisor() -> Supervisor | None:
    """The supervisor of this process, from any thread; None where none runs."""
    if _supervisor is None or _supervisor._loop.is_closed() or _supervisor._draining:
        return None
    return _supervisor


async def next_tick() -> None:
    """Wait until this process is about to commit and push what its generators have yielded.

    A generator that is fed faster than the ticks come (`STREAMING_TICK_SECONDS`) may wait for the
    next one before it looks at its source again: the text is shown as soon as it would be
    otherwise, for one wake-up instead of one for each piece. Returns at once without a supervisor.
    """
    if _supervisor is not None and _supervisor._loop is asyncio.get_running_loop():
        await _supervisor.journal.turn()


async def start() -> None:
    """Start this process's hub and, if it is to run generators, its supervisor. Idempotent."""
    global _supervisor
    get_hub()
    if conf.RUNNER == "embedded" and running_supervisor() is None:
        _supervisor = Supervisor()


async def drain(timeout: float) -> None:
    """Close this process's sockets and let its answers end; see `Supervisor.drain`."""
    from .consumers import close_all_sockets

    await close_all_sockets(1012)
    if _supervisor is not None and not _supervisor._loop.is_closed():
        await _supervisor.drain(timeout)


def with_supervisor(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap an ASGI application so that the supervisor starts when the server does.

    By lifespan where the server speaks it, under Daphne once its reactor runs, at the latest with
    the first connection.
    """
    _start_with_twisted()

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if _supervisor is None:
            await start()
        await application(scope, receive, send)

    return wrapped


def _start_with_twisted() -> None:
    import sys

    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        reactor.callWhenRunning(
            lambda: asyncio.ensure_future(start(), loop=asyncio.get_event_loop())
        )


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await drain(float(conf.DRAIN_SECONDS))
            await send({"type": "lifespan.shutdown.complete"})
            return

"""The generators that run in this process: each a task that writes a claimed stream to its end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.utils import translation
from django.utils.functional import Promise

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

# What is left at the end of a drain gets so long, all together, to be committed.
LAST_COMMIT_SECONDS = 3.0
# A cancelled generator gets so long to close what it holds; then its stream does without it.
CLEANUP_SECONDS = 1.0


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


class Runs:
    """See the module; lives on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._hub = get_hub()
        self.journal = Journal(
            self._loop, on_committed=self._hub.committed, on_ended=self._hub.ended
        )
        self._hub.writes_here = self.journal.writes
        self._hub.on_outside_hint = self.journal.fenced
        self.draining = False
        self._runs: dict[UUID, Run] = {}
        # Claims on their way, and the runs that they lead to.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching = new_task(self._loop, self._watch())

    @property
    def tasks(self) -> int:
        """How many there are, claims on their way among them."""
        return len(self._tasks)

    def ids(self) -> frozenset[UUID]:
        """The streams that are this process's."""
        return frozenset(self._runs)

    def claim(self, claim: Callable[..., Stream | None], *args: object) -> asyncio.Task[None]:
        """Claim by `claim(*args)`, a function of `claims`, and run what it gives to its end.

        The task ends then, or at once when the claim is refused: another has the stream.
        """
        return self._spawn(self._claim_and_run(claim, *args))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = new_task(self._loop, coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def _claim_and_run(self, claim: Callable[..., Stream | None], *args: object) -> None:
        try:
            stream = await run_generator(claim, *args)
        except DatabaseError as error:
            logger.warning("A claim waits for the next sweep: %s", error)
            return
        if stream is None:
            return
        if not stream.is_open:
            # The claim was one too many and ended the stream.
            self._hub.ended([stream])
        elif self.draining:
            await run_generator(claims.release, stream)
        else:
            await self.run_stream(stream)

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
            if not generator.may_run(stream):
                return Status.TIMEOUT, End(EndReason.LOST), ""
            if stream.was_taken_over:
                self._hub.taken_over(stream.pk)
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
            detail = await run_generator(_detail_of, stream, failure)
            return Status.ERROR, End(failure.reason), detail
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
        if run.verdict is not None or run.releasing:
            task.uncancel()
            await self._conclude(run, writer)
        elif not writer.closed and writer.end_request is None:
            # Nobody here cancelled it: the error of a task that the generator awaited.
            await writer.end(Status.ERROR, EndReason.FAILED)

    def _cancel(self, run: Run) -> None:
        """Cancel the generator for its `verdict` or its release, which do not wait for it long."""
        if run.task is not None:
            run.task.cancel()
            self._spawn(self._conclude_if_stuck(run, run.task))

    async def _conclude_if_stuck(self, run: Run, task: asyncio.Task[None]) -> None:
        await asyncio.wait([task], timeout=CLEANUP_SECONDS)
        if not task.done() and run.writer is not None:
            await self._conclude(run, run.writer)

    async def _conclude(self, run: Run, writer: Writer) -> None:
        """End or release the stream; whoever comes second finds the writer closed."""
        if run.verdict is not None:
            status, reason = run.verdict
            await writer.end(status, reason)
            return
        await writer.flush()
        if not writer.closed:
            # First, so that no heartbeat of ours follows the release.
            writer.close()
            await run_generator(claims.release, run.stream)

    # --- Deadlines

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
        self._cancel(run)

    # --- Shutdown

    async def drain(self, timeout: float) -> None:
        """Let running answers end, hand over those that carry on, interrupt what is left.

        Takes at most `timeout` and `LAST_COMMIT_SECONDS`, whatever the database, a generator's
        cleanup or a hook does: what is not committed by then is left to the next sweep.
        """
        self.draining = True
        self._watching.cancel()
        for run in list(self._runs.values()):
            if not _is_ending(run) and _carries_on(run.stream):
                run.releasing = True
                self._cancel(run)
        deadline = self._loop.time() + timeout
        await self._wait_for_tasks(deadline)
        for run in list(self._runs.values()):
            if not run.releasing and not _is_ending(run):
                self._end_by_cancel(run, Status.TIMEOUT, EndReason.LOST)
        deadline = max(deadline, self._loop.time()) + LAST_COMMIT_SECONDS
        await self._wait_for_tasks(deadline)
        for task in self._tasks:
            task.cancel()
        await self._wait_for_tasks(self._loop.time() + CLEANUP_SECONDS)
        await self.journal.stop(CLEANUP_SECONDS)

    async def _wait_for_tasks(self, deadline: float) -> None:
        """Wait for all tasks, also those that come meanwhile."""
        while self._tasks and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log_failure(logger, error, "A task of the supervisor failed")


def _is_ending(run: Run) -> bool:
    return run.writer is not None and run.writer.end_request is not None


def _detail_of(stream: Stream, failure: StreamFailed) -> str:
    """What a failure says to people, in their language if it is translated lazily; may query."""
    if not isinstance(failure.detail, Promise):
        return failure.detail
    with translation.override(get_generator(stream.generator).language_of(stream)):
        return str(failure.detail)


def _carries_on(stream: Stream) -> bool:
    try:
        return get_generator(stream.generator).carries_on(stream)
    except Exception as error:
        # A shutdown goes on whatever a hook does.
        log_failure(logger, error, "carries_on of stream %s failed", stream.pk)
        return False


def new_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
) -> asyncio.Task[None]:
    """A task in a fresh context: one born in a request would inherit its thread and outlive it."""
    return loop.create_task(coroutine, context=contextvars.Context())

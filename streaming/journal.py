"""Group commit: the only code that adds chunks, and the way in which a writer ends its stream.

One journal a process. State lives on the event loop; a thread with a connection of its own commits
one batch at a time. A tick serves all streams, so the number of transactions and wake-ups depends
on time, not on streams or tokens:

1. `write` collects normalised text on the loop; the first dirty writer sets the tick's timer.
2. The tick freezes what is there into a batch; newer text waits for the next.
3. The thread commits the batch and retries it byte-identical until its outcome is known.
4. Back on the loop, accepted text is published, refused writers are closed.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.utils import InterfaceError, InternalError

from . import appending
from .appending import Append, Outcome
from .conf import conf
from .exceptions import log_failure
from .models import Stream
from .writer import STORAGE_FAILED, End, Writer

logger = logging.getLogger(__name__)

# Busy, deadlock, connection lost: the batch may succeed later, unchanged.
TRANSIENT_ERRORS = (OperationalError, InterfaceError, InternalError)
JOURNAL_BUSY_SECONDS = 20
RETRY_SECONDS = 0.5


@dataclass
class Batch:
    """One unit for the thread."""

    appends: list[Append] = field(default_factory=list)
    # (stream id, epoch, what)
    ends: list[tuple[UUID, int, End]] = field(default_factory=list)
    # (stream id, epoch) of live writers, when the heartbeat or the check is due.
    beats: list[tuple[UUID, int]] = field(default_factory=list)
    checks: list[tuple[UUID, int]] = field(default_factory=list)
    on_appended: Callable[[dict[UUID, Outcome]], None] = lambda outcomes: None
    on_done: Callable[[dict[UUID, Stream | None], set[UUID]], None] = lambda ends, fenced: None


class Journal:
    """Commits the text of all writers of this process; see the module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_committed: Callable[[list[Append]], None],
        on_ended: Callable[[list[Stream]], None],
    ) -> None:
        self._loop = loop
        self._on_committed = on_committed
        self._on_ended = on_ended
        self._writers: dict[UUID, Writer] = {}
        # Writers with text or an end to commit; a dict, so that they keep their order.
        self._dirty: dict[Writer, None] = {}
        self._timer: asyncio.Handle | None = None
        # When the timer is due; uvloop's handle of a time that is now cannot say.
        self._due = 0.0
        self._in_flight = False
        self._last_tick = 0.0
        # Set at the next tick, just before it takes the text; None while nobody waits for it.
        self._turn: asyncio.Event | None = None
        self._next_beat = self._next_check = 0.0
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="streaming-journal", daemon=True)
        self._thread.start()
        self._stopping = False

    # --- On the event loop

    def open(self, stream: Stream, on_closed: Callable[[], None]) -> Writer:
        """A writer for a stream that was claimed with `stream.epoch`."""
        writer = Writer(self, stream.pk, stream.epoch, stream.length, on_closed)
        self._writers[stream.pk] = writer
        self._arm(conf.CHECK_SECONDS)
        return writer

    def forget(self, writer: Writer) -> None:
        if self._writers.get(writer.stream_id) is writer:
            del self._writers[writer.stream_id]
        self._dirty.pop(writer, None)

    def mark(self, writer: Writer, *, urgent: bool) -> None:
        """The writer has something to commit: at the next tick, or at once when urgent."""
        self._dirty[writer] = None
        due = self._last_tick + conf.TICK_SECONDS - self._loop.time()
        self._arm(0.0 if urgent else max(0.0, due))

    async def turn(self) -> None:
        """Wait until just before the next tick: what is written then is in that tick's batch."""
        if self._turn is None:
            self._turn = asyncio.Event()
            self._arm(max(0.0, self._last_tick + conf.TICK_SECONDS - self._loop.time()))
        await self._turn.wait()

    def fenced(self, stream_id: UUID) -> None:
        """A hint that this stream was ended or claimed by another: look now."""
        if stream_id in self._writers:
            self._next_check = 0.0
            self._arm(0.0)

    def writes(self, stream_id: UUID) -> bool:
        """Whether a writer of this process holds the stream."""
        return stream_id in self._writers

    def stop(self) -> None:
        """End the thread after the batch in flight."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        self._queue.put(None)
        self._thread.join(timeout=JOURNAL_BUSY_SECONDS + 5)

    def _arm(self, delay: float) -> None:
        if self._in_flight or self._stopping:
            return
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._turn is None:
            self._freeze()
            return
        # Those who wait write first: their tasks run before what is scheduled after them.
        self._turn.set()
        self._turn = None
        self._in_flight = True
        self._loop.call_soon(self._freeze)

    def _freeze(self) -> None:
        """Hand what is there now to the thread."""
        self._in_flight = False
        now = self._last_tick = self._loop.time()
        batch = Batch(on_appended=self._appended, on_done=self._done)
        for writer in self._dirty:
            append = writer.freeze()
            if append is not None:
                batch.appends.append(append)
            # Newer text behind an unsettled append comes first.
            if writer.end_request is not None and not writer.has_pending:
                batch.ends.append((writer.stream_id, writer.epoch, writer.end_request))
        held = [(writer.stream_id, writer.epoch) for writer in self._writers.values()]
        if held and now >= self._next_beat:
            self._next_beat = now + conf.BEAT_SECONDS
            batch.beats = held
        if held and now >= self._next_check:
            self._next_check = now + conf.CHECK_SECONDS
            batch.checks = held
        if batch.appends or batch.ends or batch.beats or batch.checks:
            self._in_flight = True
            self._queue.put(batch)
        else:
            self._arm_next()

    def _appended(self, outcomes: dict[UUID, Outcome]) -> None:
        accepted = []
        for stream_id, outcome in outcomes.items():
            writer = self._writers.get(stream_id)
            if writer is None or writer.frozen is None:
                continue
            if outcome is Outcome.ACCEPTED:
                accepted.append(writer.frozen)
                writer.accept()
                if not writer.dirty and writer.end_request is None:
                    self._dirty.pop(writer, None)
            elif outcome is Outcome.REFUSED:
                writer.close()
            elif outcome is Outcome.UNSTORABLE:
                writer.fail()
        if accepted:
            self._on_committed(accepted)

    def _done(self, ends: dict[UUID, Stream | None], fenced: set[UUID]) -> None:
        self._in_flight = False
        for stream_id in fenced:
            if writer := self._writers.get(stream_id):
                writer.close()
        for stream_id, stream in ends.items():
            writer = self._writers.get(stream_id)
            if writer is None or writer.frozen is not None:
                continue
            if writer.ended is not None and not writer.ended.done():
                writer.ended.set_result(stream)
            writer.close()
        self._arm_next()
        ended = [stream for stream in ends.values() if stream is not None]
        if ended:
            self._on_ended(ended)

    def _arm_next(self) -> None:
        if not self._writers:
            return
        now = self._loop.time()
        if self._dirty or self._turn is not None:
            # An end whose last text was not settled (its row is locked) waits for the tick.
            ending = any(one.end_request and one.frozen is None for one in self._dirty)
            self._arm(0.0 if ending else max(0.0, self._last_tick + conf.TICK_SECONDS - now))
        else:
            self._arm(max(0.0, min(self._next_beat, self._next_check) - now))

    # --- In the journal's thread

    def _run(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                try:
                    self._commit(batch)
                except Exception as error:
                    # The journal must outlive whatever one batch brings; its text is kept.
                    log_failure(logger, error, "A batch of the journal failed; it is tried again")
                    connection.close()
                    if not self._stopping:
                        time.sleep(RETRY_SECONDS)
                    self._tell(batch.on_done, {}, set())
        finally:
            connection.close()

    def _commit(self, batch: Batch) -> None:
        outcomes = self._retry(appending.append, batch.appends) if batch.appends else {}
        if outcomes:
            self._tell(batch.on_appended, outcomes)
        settled = [
            end
            for end in batch.ends
            # An end waits until all text before it is committed.
            if outcomes.get(end[0], Outcome.ACCEPTED) is Outcome.ACCEPTED
        ]
        ends = self._retry(_end_all, settled) if settled else {}
        fenced: set[UUID] = set()
        if batch.beats:
            self._retry(appending.beat, batch.beats)
        if batch.checks:
            gone = {stream_id for stream_id, _, _ in batch.ends}
            held = [pair for pair in batch.checks if pair[0] not in gone]
            fenced = self._retry(appending.fenced, held)
        if connection.vendor != "sqlite":
            connection.close()
        self._tell(batch.on_done, ends, fenced)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *args)

    def _retry(self, function: Callable[[list[Any]], Any], items: list) -> Any:
        """Call until the database answers; busy, deadlock and connection errors pass by."""
        delay = 0.05
        while True:
            try:
                _be_patient()
                return function(items)
            except TRANSIENT_ERRORS as error:
                logger.warning("The journal waits for the database: %s", error)
                connection.close()
                if self._stopping:
                    raise
                time.sleep(delay)
                delay = min(1.0, delay * 2)


def _be_patient() -> None:
    """The journal waits longer for SQLite's lock than a request does, and before all of them."""
    if connection.vendor == "sqlite" and connection.connection is None:
        connection.goes_first = True  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {JOURNAL_BUSY_SECONDS * 1000}")


def _end_all(ends: Sequence[tuple[UUID, int, End]]) -> dict[UUID, Stream | None]:
    """End all in one transaction or, if one cannot be stored, each alone and that one as failed."""
    try:
        return _end_together(ends)
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:
        if len(ends) == 1:
            ((stream_id, epoch, end),) = ends
            log_failure(logger, error, "The end of stream %s cannot be stored", stream_id)
            if end is STORAGE_FAILED:
                raise
            return _end_together([(stream_id, epoch, STORAGE_FAILED)])
        return {key: row for one in ends for key, row in _end_all([one]).items()}


def _end_together(ends: Iterable[tuple[UUID, int, End]]) -> dict[UUID, Stream | None]:
    from .actions import end_stream

    with transaction.atomic():
        return {
            stream_id: end_stream(
                stream_id, end.status, end.reason, end.detail, epoch=epoch, result=end.result
            )
            for stream_id, epoch, end in ends
        }


def hint_stopped(stream_id: UUID) -> None:
    """Say after the commit that a stream was ended from outside its writer; from any thread."""
    from .doorbell import ring_outside
    from .hub import running_hub

    hub = running_hub()
    if hub is not None:
        hub.hint_threadsafe(stream_id)
    else:
        ring_outside(hints={stream_id})

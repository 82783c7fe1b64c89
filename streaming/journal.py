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
from collections.abc import Callable
from uuid import UUID

from .appending import Append, Outcome
from .committing import Batch, Committer
from .conf import conf
from .models import Stream
from .writer import Writer


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
        self._committer = Committer(loop)
        self._stopping = False

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

    async def stop(self, timeout: float) -> None:
        """End the thread after the batch in flight; one that takes longer ends with the process."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        await self._committer.stop(timeout)

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
            self._committer.put(batch)
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
        if not self._writers and self._turn is None:
            return
        now = self._loop.time()
        if self._dirty or self._turn is not None:
            # An end whose last text was not settled (its row is locked) waits for the tick.
            ending = any(one.end_request and one.frozen is None for one in self._dirty)
            self._arm(0.0 if ending else max(0.0, self._last_tick + conf.TICK_SECONDS - now))
        else:
            self._arm(max(0.0, min(self._next_beat, self._next_check) - now))


def hint_stopped(stream_id: UUID) -> None:
    """Say after the commit that a stream was ended from outside its writer; from any thread."""
    from .doorbell import ring_outside
    from .hub import running_hub

    hub = running_hub()
    if hub is not None:
        hub.hint_threadsafe(stream_id)
    else:
        ring_outside(hints={stream_id})

"""A writer: what one generator's task holds of its stream's log, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .appending import Append
from .conf import conf
from .models import EndReason, Status, Stream
from .normalise import Normaliser

if TYPE_CHECKING:
    from .journal import Journal


@dataclass
class End:
    """A final state that a writer asks for."""

    status: Status
    reason: str
    detail: str = ""
    result: Mapping[str, Any] | None = None


STORAGE_FAILED = End(Status.ERROR, EndReason.STORAGE)


class Writer:
    """One claimed stream's way into the log; used on the event loop only."""

    def __init__(
        self, journal: Journal, stream_id: UUID, epoch: int, length: int, on_closed: Callable
    ) -> None:
        self.stream_id = stream_id
        self.epoch = epoch
        # Offset of the next text to commit, in code points.
        self.committed = length
        self.closed = False
        self._journal = journal
        self._on_closed = on_closed
        self._normaliser = Normaliser()
        self._pending: list[str] = []
        self._pending_chars = 0
        self.frozen: Append | None = None
        self.end_request: End | None = None
        self.ended: asyncio.Future[Stream | None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._urgent_next = length == 0

    @property
    def length(self) -> int:
        """Code points written so far, committed or not."""
        frozen = len(self.frozen.text) if self.frozen else 0
        return self.committed + frozen + self._pending_chars

    def write(self, text: str) -> bool:
        """Take text in; True when the caller should await `drain` before it writes more."""
        if self.closed or self.end_request is not None:
            return True
        text = self._normaliser.feed(text)
        if text:
            self._pending.append(text)
            self._pending_chars += len(text)
            self._journal.mark(self, urgent=self._urgent_next)
            self._urgent_next = False
        return self._pending_chars >= conf.MAX_UNCOMMITTED_CHARS

    async def drain(self) -> None:
        """Wait until less than the allowed text is uncommitted; returns at once when closed."""
        while self._pending_chars >= conf.MAX_UNCOMMITTED_CHARS and not self.closed:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    async def end(
        self,
        status: Status,
        reason: str,
        detail: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> Stream | None:
        """Commit what is pending and end the stream; the ended row, or None if another won.

        The first call says how; a later one, after a cancelled wait, only waits again.
        """
        if self.closed:
            return None
        if self.end_request is None:
            rest = self._normaliser.flush()
            if rest:
                self._pending.append(rest)
                self._pending_chars += len(rest)
            self.end_request = End(status, reason, detail, result)
        if self.ended is None or self.ended.done():
            self.ended = asyncio.get_running_loop().create_future()
        self._journal.mark(self, urgent=True)
        # Others may wait for the same end: who is cancelled leaves it to them.
        return await asyncio.shield(self.ended)

    async def flush(self) -> None:
        """Wait until everything written so far is committed or the writer is closed."""
        while not self.closed and (self._pending or self.frozen):
            self._room = asyncio.get_running_loop().create_future()
            self._journal.mark(self, urgent=True)
            await self._room

    def freeze(self) -> Append | None:
        """What the next batch holds of this writer: the unsettled one again, or the newer text."""
        if self.frozen is None and self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            self._pending_chars = 0
            self.frozen = Append(self.stream_id, self.epoch, self.committed, text)
        return self.frozen

    def accept(self) -> None:
        assert self.frozen is not None
        self.committed += len(self.frozen.text)
        self.frozen = None
        self._make_room()

    def fail(self) -> None:
        """The text cannot be stored: nothing may follow it, the stream ends here.

        The generator is told now: it may take long until the end can be stored.
        """
        self._pending.clear()
        self._pending_chars = 0
        self.frozen = None
        self.end_request = STORAGE_FAILED
        self._make_room()
        self._on_closed()

    def close(self) -> None:
        """The writer may write no more: refused, ended or fenced. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._pending.clear()
        self._pending_chars = 0
        self.frozen = None
        self._make_room()
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        self._journal.forget(self)
        self._on_closed()

    @property
    def has_pending(self) -> bool:
        """Whether there is text that no batch holds yet."""
        return bool(self._pending)

    @property
    def dirty(self) -> bool:
        return bool(self._pending or self.frozen)

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

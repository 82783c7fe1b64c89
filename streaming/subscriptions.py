"""What a reader of raw text is told: committed text as it comes, or that it should look."""

from __future__ import annotations

import asyncio
from collections import deque
from uuid import UUID

from .executors import run_read
from .models import Status
from .reader import Batch, read

# A reader that is slower than the text reads the database instead of a longer memory.
MAX_CHARS = 65_536


class Subscription:
    """Wakes a reader, and brings it the text that follows what it has.

    An async context manager: it is subscribed within. What it brings is committed; whatever it
    does not know, the end and a gap included, is read from the database.
    """

    def __init__(self, subscriptions: dict[UUID, set[Subscription]], stream_id: UUID) -> None:
        self._subscriptions = subscriptions
        self._stream_id = stream_id
        self._event = asyncio.Event()
        # (start, text), as the hub was told.
        self._pieces: deque[tuple[int, str]] = deque()
        self._size = 0
        self._must_look = True

    async def __aenter__(self) -> Subscription:
        self._subscriptions.setdefault(self._stream_id, set()).add(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        remaining = self._subscriptions[self._stream_id]
        remaining.discard(self)
        if not remaining:
            del self._subscriptions[self._stream_id]

    def wake(self) -> None:
        """Something changed: look at the database."""
        self._forget()
        self._must_look = True
        self._event.set()

    def give(self, start: int, text: str) -> None:
        """Committed text at offset `start`."""
        if not self._must_look:
            self._pieces.append((start, text))
            self._size += len(text)
            if self._size > MAX_CHARS:
                self.wake()
        self._event.set()

    async def changed(self, timeout: float) -> bool:
        """Wait for a hint: True when one came, False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            # A hint may have got lost.
            self._must_look = True
            return False
        self._event.clear()
        return True

    async def batch(self, position: int) -> Batch:
        """What follows `position`: as it was told, else as the database has it.

        Raises BadOffset, Stream.DoesNotExist and the errors of a database that is away.
        """
        self._event.clear()
        text = "" if self._must_look else self._text_at(position)
        if not text:
            # Before the read: what is told while it runs may be behind what it finds.
            self._must_look = False
            self._forget()
            try:
                return await run_read(read, self._stream_id, position)
            except BaseException:
                self._must_look = True
                raise
        return Batch(
            start=position,
            text=text,
            end=position + len(text),
            closed=False,
            status=Status.STREAMING.value,
            reason="",
        )

    def _text_at(self, position: int) -> str:
        """The told text from `position` on; empty when there is none, or a gap before it."""
        pieces = []
        for start, text in self._pieces:
            if start > position:
                return ""
            if start + len(text) > position:
                pieces.append(text[position - start :])
                position = start + len(text)
        self._forget()
        return "".join(pieces)

    def _forget(self) -> None:
        self._pieces.clear()
        self._size = 0

"""A supervisor inside the test's own event loop, and generators that tests drive by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async

from streaming import generators, hub, supervisor
from streaming.generators import End
from streaming.models import Stream
from streaming.reader import text_of

PATIENCE_SECONDS = 10


@asynccontextmanager
async def running_supervisor() -> AsyncIterator[supervisor.Supervisor]:
    """The supervisor and hub of a server process, for the length of a test."""
    running = supervisor._supervisor = supervisor.Supervisor()
    try:
        yield running
    finally:
        await running.drain(0)
        await hub.get_hub().close()
        supervisor._supervisor = hub._hub = None


class Tap:
    """A generator whose text comes from the test; notes what happens to it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | End | BaseException | None] = asyncio.Queue()
        self.given: list[str] = []
        self.started = asyncio.Event()
        self.closed = asyncio.Event()

    def say(self, *items: str | End | BaseException | None) -> None:
        """Text, an `End`, an exception to raise, or None to return."""
        for item in items:
            self.queue.put_nowait(item)

    async def __call__(
        self, stream: Stream, params: dict[str, Any], text: str
    ) -> AsyncIterator[str | End]:
        self.given.append(text)
        self.started.set()
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed.set()


@asynccontextmanager
async def tap(name: str = "tests.tap", **hooks: Any) -> AsyncIterator[Tap]:
    """Register a `Tap` under `name`."""
    made = Tap()
    generators.generator(name, **hooks)(made)
    try:
        yield made
    finally:
        generators._registry.pop(name, None)


async def until(condition: Callable[[], Awaitable[Any] | Any]) -> Any:
    """Wait until the condition holds; what it gave. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


async def row(stream: Stream) -> Stream:
    return await Stream.objects.aget(pk=stream.pk)


async def text(stream: Stream) -> str:
    return await sync_to_async(text_of)(stream)


async def ended(stream: Stream) -> Stream:
    """Wait for a final state; the row."""

    async def final() -> Stream | None:
        found = await row(stream)
        return None if found.is_open else found

    return await until(final)

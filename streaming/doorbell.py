"""Doorbells between processes over the channel layer: batched hints, never the text's only way.

One message for a process and tick, through one channel a process. Layers lose messages; here a loss
is a delay, because hubs poll as well. With the in-memory layer there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

from .appending import Append
from .exceptions import log_failure

if TYPE_CHECKING:
    from .hub import Hub

logger = logging.getLogger(__name__)

# Each tick names the same streams again, in every process.
_uuid = lru_cache(maxsize=8_192)(UUID)
_name = lru_cache(maxsize=8_192)(str)

GROUP = "streaming.doorbell"
# Text beyond this in one message is a position only; the hubs read it from the database. A tick of
# a thousand answers has a fifth of it: what is read costs far more than what is rung.
MAX_TEXT_CHARS = 262_144
# What one stream may have of it: to read one large text costs little for its size, and a large one
# must not crowd out the small ones of a hundred others.
MAX_TEXT_CHARS_OF_ONE = 16_384
SEND_SECONDS = 0.2
RETRY_SECONDS = 1.0


class Doorbell:
    """Collects what a hub's process did and rings once; hands on what others rang."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        layer = get_channel_layer()
        self._layer = None if layer is None or isinstance(layer, InMemoryChannelLayer) else layer
        self._origin = uuid.uuid4().hex
        self._appends: list[Append] = []
        # Streams to look at, with the topics' versions that an end brings.
        self._hints: dict[UUID, Mapping[str, int]] = {}
        self._topics: dict[str, int] = {}
        self._wake = asyncio.Event()
        # Set while nothing has gathered or is on its way.
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_shared(self) -> bool:
        """Whether a layer connects this process with others."""
        return self._layer is not None

    def start(self) -> None:
        if self._layer is not None:
            self._tasks = [self._hub.spawn(self._ring()), self._hub.spawn(self._listen())]

    def appended(self, appends: Sequence[Append]) -> None:
        if self._layer is not None:
            self._appends.extend(appends)
            self._ask()

    def hinted(self, stream_id: UUID, topics: Mapping[str, int]) -> None:
        if self._layer is not None:
            self._hints[stream_id] = topics
            self._ask()

    def touched(self, topic: str, version: int) -> None:
        if self._layer is not None:
            self._topics[topic] = version
            self._ask()

    def _ask(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def settle(self) -> None:
        """Wait until all that was rung has left this process, or the layer had its time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * SEND_SECONDS):
                await self._idle.wait()

    async def _ring(self) -> None:
        """Send what has gathered, one message at a time; while one is on its way more gathers."""
        assert self._layer is not None
        while True:
            await self._wake.wait()
            self._wake.clear()
            message = _message(self._origin, self._appends, self._hints, self._topics)
            self._appends, self._hints, self._topics = [], {}, {}
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._layer.group_send(GROUP, message)
            except (Exception, TimeoutError) as error:
                # A layer that is down never stops a generator; the hubs poll meanwhile.
                logger.info("The channel layer did not take a doorbell: %s", type(error).__name__)
            if not self._wake.is_set():
                self._idle.set()

    async def _listen(self) -> None:
        assert self._layer is not None
        while True:
            try:
                channel = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                while True:
                    self._hear(await self._layer.receive(channel))
            except Exception as error:
                logger.warning("The channel layer does not answer: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("origin") == self._origin:
            return
        try:
            self._hand_on(message)
        except Exception as error:
            # Of a release with other messages, for example; this process goes on listening.
            log_failure(logger, error, "A doorbell was not understood")

    def _hand_on(self, message: dict[str, Any]) -> None:
        for stream_id, start, text in message["appends"]:
            if text:
                self._hub.extend(_uuid(stream_id), start, text)
            else:
                self._hub.hint(_uuid(stream_id))
        for stream_id, topics in message["hints"].items():
            self._hub.hint_from_outside(_uuid(stream_id), topics)
        for topic, version in message["topics"].items():
            self._hub.touched(topic, version)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _message(
    origin: str,
    appends: Sequence[Append],
    hints: Mapping[UUID, Mapping[str, int]],
    topics: dict[str, int],
) -> dict[str, Any]:
    told = []
    room = MAX_TEXT_CHARS
    for one in appends:
        fits = len(one.text) <= min(room, MAX_TEXT_CHARS_OF_ONE)
        if fits:
            room -= len(one.text)
        told.append((_name(one.stream_id), one.start, one.text if fits else ""))
    return {
        "type": "streaming.doorbell",
        "origin": origin,
        "appends": told,
        "hints": {_name(stream_id): dict(topics) for stream_id, topics in hints.items()},
        "topics": topics,
    }


def ring_outside(*, hints: set[UUID] | None = None, topics: dict[str, int] | None = None) -> None:
    """Ring from a process without a hub (a command): synchronous, and silent about a failure."""
    layer = get_channel_layer()
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        return
    message = _message("", [], {stream_id: {} for stream_id in hints or ()}, topics or {})
    try:
        async_to_sync(layer.group_send)(GROUP, message)
    except Exception as error:
        logger.info("The channel layer did not take a doorbell: %s", type(error).__name__)

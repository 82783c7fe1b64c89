"""The hub of a server process: who is told what.

Topics and streams on one side, subscribers of this process on the other. Each followed stream has
one tail, however many tabs: its text is rendered once and the frame is given to all. Everything
that arrives here is committed already or only a hint; a tail that sees a gap reads the database.
The hub belongs to one event loop; only the `*_threadsafe` methods may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import Error as DatabaseError

from . import doorbell, topics
from .appending import Append
from .conf import conf
from .exceptions import log_failure
from .executors import run_read
from .housekeeping import keep_house
from .models import OPEN_STATUSES, Stream
from .subscriptions import Subscription
from .tails import Tail

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """What polling asks of a stream."""

    length: int
    status: str
    was_taken_over: bool


class TopicSubscriber(Protocol):
    def topic_changed(self, topic: str, version: int) -> None: ...

    def topic_gone(self, topic: str, version: int) -> None:
        """There is no such topic any more; `version` is one that no page has seen."""
        ...


class Hub:
    """See the module. One for each process and event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.tails: dict[UUID, Tail] = {}
        # Of all tails.
        self.follower_count = 0
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        # Where polling saw the streams of subscriptions, None without a row.
        self._polled: dict[UUID, Position | None] = {}
        self._watchers: dict[str, set[TopicSubscriber]] = {}
        self._versions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # The server is about to stop: no new sockets.
        self.is_draining = False
        # It stops now: readers are answered with what there is, and come back to another.
        self.is_closing = False
        # Streams that this process writes: their tails need no polling.
        self.writes_here: Callable[[UUID], bool] = lambda stream_id: False
        # Called when a stream may have been ended or claimed elsewhere.
        self.on_outside_hint: Callable[[UUID], None] = lambda stream_id: None
        self.doorbell = doorbell.Doorbell(self)
        self.doorbell.start()
        self.spawn(self._poll())
        self.spawn(keep_house())

    # --- What happened

    def committed(self, appends: Sequence[Append]) -> None:
        """Text of this process's journal, committed; told to everyone here and next door."""
        for one in appends:
            self.extend(one.stream_id, one.start, one.text)
        self.doorbell.appended(appends)

    def ended(self, streams: Iterable[Stream]) -> None:
        """Streams whose final state is committed."""
        for stream in streams:
            tail = self.tails.get(stream.pk)
            if tail is not None:
                tail.end(stream)
            self._wake(stream.pk)
            self.doorbell.hinted(stream.pk, stream.topics)

    def extend(self, stream_id: UUID, start: int, text: str) -> None:
        """Committed text of a stream, from this process or another."""
        tail = self.tails.get(stream_id)
        if tail is not None:
            tail.extend(start, text)
        for subscription in self._subscriptions.get(stream_id, ()):
            subscription.give(start, text)

    def hint(self, stream_id: UUID) -> None:
        """Something about the stream changed: look at the database."""
        tail = self.tails.get(stream_id)
        if tail is not None:
            tail.look()
        self._wake(stream_id)

    def taken_over(self, stream_id: UUID) -> None:
        """A writer of this process took the stream over from another: its pages say so."""
        self.hint(stream_id)
        self.doorbell.hinted(stream_id, {})

    def hint_from_outside(self, stream_id: UUID, topics: Mapping[str, int]) -> None:
        """Another process, or a request of this one, ended or changed the stream.

        An end brings the `topics` whose new version a page has once it shows the end.
        """
        self.on_outside_hint(stream_id)
        tail = self.tails.get(stream_id)
        if tail is not None:
            tail.topics = topics
        self.hint(stream_id)

    def hint_threadsafe(self, stream_id: UUID) -> None:
        self._loop.call_soon_threadsafe(self._hint_all, stream_id)

    def _hint_all(self, stream_id: UUID) -> None:
        self.hint_from_outside(stream_id, {})
        self.doorbell.hinted(stream_id, {})

    def touched(self, topic: str, version: int) -> None:
        """A topic reached `version`; watchers that know an older one are told."""
        if version == topics.GONE:
            self._gone(topic)
        if version <= self._versions.get(topic, -1):
            return
        watchers = self._watchers.get(topic)
        if watchers is None:
            return
        self._versions[topic] = version
        for watcher in list(watchers):
            watcher.topic_changed(topic, version)

    def _gone(self, topic: str) -> None:
        version = self._versions.pop(topic, 0) + 1
        for watcher in self._watchers.pop(topic, ()):
            watcher.topic_gone(topic, version)

    def touch_threadsafe(self, topic: str, version: int) -> None:
        self._loop.call_soon_threadsafe(self._touch_all, topic, version)

    def _touch_all(self, topic: str, version: int) -> None:
        self.touched(topic, version)
        self.doorbell.touched(topic, version)

    # --- Who wants to know

    def tail(self, stream_id: UUID) -> Tail:
        """The tail of a stream, made when it is the first follower's."""
        tail = self.tails.get(stream_id)
        if tail is None:
            tail = self.tails[stream_id] = Tail(self, stream_id)
            tail.look()
        return tail

    def drop(self, tail: Tail) -> None:
        if self.tails.get(tail.stream_id) is tail:
            del self.tails[tail.stream_id]

    def subscribe(self, stream_id: UUID) -> Subscription:
        """A subscription for a reader of raw text."""
        return Subscription(self._subscriptions, stream_id)

    def let_readers_go(self) -> None:
        """End what waits for text, because the server stops."""
        self.is_closing = True
        for stream_id in list(self._subscriptions):
            self._wake(stream_id)

    def watch(self, topic: str, version: int, watcher: TopicSubscriber) -> None:
        """Tell `watcher` once the topic passes `version`, the one that its page shows."""
        self._watchers.setdefault(topic, set()).add(watcher)
        known = self._versions.setdefault(topic, version)
        if known > version:
            watcher.topic_changed(topic, known)

    def unwatch(self, topic: str, watcher: TopicSubscriber) -> None:
        watchers = self._watchers.get(topic, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(topic, None)
            self._versions.pop(topic, None)

    def _wake(self, stream_id: UUID) -> None:
        for subscription in self._subscriptions.get(stream_id, ()):
            subscription.wake()

    # --- Polling: makes a lost doorbell a delay

    async def _poll(self) -> None:
        last_topics = self._loop.time()
        while True:
            shared = self.doorbell.is_shared
            await asyncio.sleep(conf.POLL_SECONDS if shared else conf.POLL_SECONDS_WITHOUT_LAYER)
            try:
                await self._poll_streams()
                if self._loop.time() - last_topics >= conf.POLL_SECONDS:
                    last_topics = self._loop.time()
                    await self._poll_topics()
            except DatabaseError as error:
                logger.warning("The hub cannot read the database: %s", error)
            except Exception as error:
                # One topic's function, for example: whoever waits on others is still told.
                log_failure(logger, error, "A round of the hub's polling failed")

    async def _poll_streams(self) -> None:
        """One query over what is followed here and written elsewhere."""
        known = {
            stream_id
            for stream_id, tail in self.tails.items()
            if not tail.is_ended and not self.writes_here(stream_id)
        }
        waiting = [
            stream_id
            for stream_id in self._subscriptions
            if stream_id not in known and not self.writes_here(stream_id)
        ]
        if not known and not waiting:
            return
        rows = await run_read(_positions, [*known, *waiting])
        for stream_id in known:
            # A deleted stream is in no answer: its readers find out by looking.
            row = rows.get(stream_id)
            # What a doorbell has brought while the database was asked is not read again.
            tail = self.tails.get(stream_id)
            if (
                row is None
                or tail is None
                or row.status not in OPEN_STATUSES
                or row.length > tail.length
                or (row.was_taken_over and not tail.note)
            ):
                self.hint(stream_id)
        for stream_id in waiting:
            if stream_id not in self._polled or self._polled[stream_id] != rows.get(stream_id):
                self._wake(stream_id)
        self._polled = {stream_id: rows.get(stream_id) for stream_id in waiting}

    async def _poll_topics(self) -> None:
        if self._watchers:
            watched = list(self._watchers)
            versions = await run_read(topics.current_versions, watched)
            for topic in watched:
                self.touched(topic, versions.get(topic, topics.GONE))

    # --- Tasks

    def time(self) -> float:
        return self._loop.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, callback)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task of the hub, with no request's context."""
        task = self._loop.create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A task of the hub failed", exc_info=error)

    async def close(self) -> None:
        await self.doorbell.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _positions(stream_ids: list[UUID]) -> dict[UUID, Position]:
    fields = ("length", "status", "end_reason", "started_at", "first_text_at")
    rows = Stream.objects.filter(pk__in=stream_ids).only(*fields)
    return {row.pk: Position(row.length, row.status, row.was_taken_over) for row in rows}


_hub: Hub | None = None


def get_hub() -> Hub:
    """The hub of the running event loop, made on first use."""
    global _hub
    loop = asyncio.get_running_loop()
    if _hub is None or _hub._loop is not loop:
        _hub = Hub(loop)
    return _hub


def running_hub() -> Hub | None:
    """The hub of this process, from any thread; None where no server runs."""
    if _hub is None or _hub._loop.is_closed():
        return None
    return _hub

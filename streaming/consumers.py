"""The page's one WebSocket: hello, follow, unfollow, watch, unwatch and ack in, frames out.

A translator: it asks who may read, joins tails and topics of the hub, and keeps to what the browser
can take. Every write of a person is an HTTP POST; the socket has no verbs for that.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import math
from collections import Counter, deque
from contextlib import suppress
from typing import Any, NoReturn
from uuid import UUID

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.contrib.auth.signals import user_logged_out
from django.db import Error as DatabaseError
from django.dispatch import receiver
from django.http import HttpRequest

from . import topics
from .access import may_read
from .conf import conf
from .exceptions import log_failure
from .executors import run_consumer
from .frames import BEAT, Frame, gone_frame, topic_frame
from .hub import get_hub
from .models import Stream
from .security import session_key, user_of_session
from .tails import Tail

logger = logging.getLogger(__name__)

# Close codes: 44xx tell the page's module not to come back as the same user.
SIGNED_OUT, BAD_MESSAGE, TOO_MANY = 4401, 4400, 4429
RESTARTING, TRY_AGAIN = 1012, 1013
PRIVATE = 3000
CLOSE_SECONDS = 1.0
# At a shutdown, pages get so many steps of so many seconds to be given the ends of their answers.
SEE_OFF_STEPS, SEE_OFF_SECONDS = 50, 0.02
MAX_MESSAGE_CHARS = 16_384
# Inbound messages in ten seconds: acks come once a second, follows with the page.
MAX_MESSAGES, MESSAGES_SECONDS = 300, 10.0
# What a message can raise that is no JSON, nests too deep, lacks a key or holds no such number.
BAD_MESSAGE_ERRORS = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)

_sockets: set[StreamConsumer] = set()
# How many of them each user has.
_sockets_of: Counter[object] = Counter()


class PageFollower:
    """A stream that the socket's page follows; see `tails.Follower`."""

    def __init__(self, socket: StreamConsumer, tail: Tail, cut: int, end: int, key: str) -> None:
        self.socket = socket
        self.tail = tail
        self.cut = cut
        self.end = end
        self.key = key
        self.in_step = False

    def room(self) -> int:
        return self.socket.room()

    def push(self, frame: Frame) -> None:
        self.socket.push(frame)
        if frame.is_last:
            # The page forgets the stream with this frame; so do the socket and, unused, the tail.
            self.socket.leave(self)

    def gone(self) -> None:
        self.push(gone_frame(str(self.tail.stream_id)))
        self.socket.ask_access()


class StreamConsumer(AsyncConsumer):
    """See the module."""

    # No channel of a layer: doorbells come through the hub's one channel.
    channel_layer_alias = "streaming-has-none"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._clean_up()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Without Channels' hop to a thread for connections that this class never opens.
        handler = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.hub = get_hub()
        self.generation = 0
        self.session_key = session_key(self.scope)
        try:
            self.user = await run_consumer(user_of_session, self.session_key)
        except DatabaseError as error:
            logger.warning("A socket has to come back: %s", type(error).__name__)
            await self._refuse(TRY_AGAIN)
        self.followers: dict[UUID, PageFollower] = {}
        self.watched: set[str] = set()
        self._outbox: deque[str] = deque()
        self._wake = asyncio.Event()
        self._number = 0
        # Frames that the page has not acknowledged: (number, size).
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._acked_at = self._sent_at = self.hub.time()
        self._inbound: deque[float] = deque()
        # Set when the access is to be asked again at once.
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        if not self._has_place():
            await self._refuse(TOO_MANY)
        _sockets.add(self)
        _sockets_of[self.user.pk] += 1
        await self.send({"type": "websocket.accept"})
        for coroutine in (self._send_outbox(), self._keep()):
            self._tasks.append(
                asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
            )

    async def _refuse(self, code: int) -> NoReturn:
        await self.close(code)
        raise StopConsumer

    def _has_place(self) -> bool:
        if not self.user.is_authenticated:
            return True
        return _sockets_of[self.user.pk] < conf.MAX_SOCKETS_PER_USER

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    def _clean_up(self) -> None:
        if self in _sockets:
            _sockets.remove(self)
            _sockets_of[self.user.pk] -= 1
            if not _sockets_of[self.user.pk]:
                del _sockets_of[self.user.pk]
        for task in getattr(self, "_tasks", []):
            task.cancel()
        for follower in list(getattr(self, "followers", {}).values()):
            follower.tail.leave(follower)
        for topic in getattr(self, "watched", ()):
            self.hub.unwatch(topic, self)

    async def close(self, code: int) -> None:
        """Close the socket; what was pushed before is sent or dropped by the server."""
        # Not for ever: a server with back-pressure waits for a page that reads nothing.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                try:
                    await self.send({"type": "websocket.close", "code": code})
                except Exception:
                    # Daphne lets an application send no code of the protocol's own.
                    await self.send({"type": "websocket.close", "code": code + PRIVATE})

    # --- In

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        text = message.get("text") or ""
        now = self.hub.time()
        self._inbound.append(now)
        while self._inbound[0] < now - MESSAGES_SECONDS:
            self._inbound.popleft()
        if len(self._inbound) > MAX_MESSAGES or len(text) > MAX_MESSAGE_CHARS:
            await self.close(TOO_MANY)
            return
        try:
            content = json.loads(text)
            handler = getattr(self, f"receive_{content['type']}")
            await handler(content)
        except BAD_MESSAGE_ERRORS as error:
            logger.info("A socket sent what is no message: %s", type(error).__name__)
            await self.close(BAD_MESSAGE)
        except DatabaseError as error:
            logger.warning("A socket has to come back: %s", type(error).__name__)
            await self.close(TRY_AGAIN)

    async def receive_hello(self, content: dict[str, Any]) -> None:
        self.generation = int(content["generation"])

    async def receive_follow(self, content: dict[str, Any]) -> None:
        stream_id = UUID(content["stream"])
        cut, end = int(content["cut"]), int(content.get("end", 0))
        key = str(content["key"])
        if len(self.followers) >= conf.MAX_FOLLOWS and stream_id not in self.followers:
            await self.close(TOO_MANY)
            return
        if not await run_consumer(_may_read, self.user, stream_id):
            self.push(gone_frame(str(stream_id)))
            return
        tail = self.hub.tail(stream_id)
        before = self.followers.get(stream_id)
        follower = self.followers[stream_id] = PageFollower(self, tail, cut, end, key)
        tail.join(follower)
        # Last, so that a page that was out of step keeps the tail, and its document, alive.
        if before is not None:
            before.tail.leave(before)

    async def receive_unfollow(self, content: dict[str, Any]) -> None:
        if follower := self.followers.get(UUID(content["stream"])):
            self.leave(follower)

    def leave(self, follower: PageFollower) -> None:
        """The page follows the stream no more."""
        if self.followers.get(follower.tail.stream_id) is follower:
            del self.followers[follower.tail.stream_id]
        follower.tail.leave(follower)

    async def receive_watch(self, content: dict[str, Any]) -> None:
        topic, version = str(content["topic"]), int(content["version"])
        found = topics.find(topic)
        allowed = found is not None and len(self.watched) < conf.MAX_FOLLOWS
        if found is None or not allowed:
            return
        kind, key = found
        if await run_consumer(kind.may_watch, self.user, key):
            self.watched.add(topic)
            self.hub.watch(topic, version, self)

    async def receive_unwatch(self, content: dict[str, Any]) -> None:
        topic = str(content["topic"])
        self.watched.discard(topic)
        self.hub.unwatch(topic, self)

    async def receive_ack(self, content: dict[str, Any]) -> None:
        number = int(content["n"])
        while self._unacked and self._unacked[0][0] <= number:
            self._unacked_bytes -= self._unacked.popleft()[1]
        self._acked_at = self.hub.time()
        for follower in list(self.followers.values()):
            if not follower.in_step:
                follower.tail.catch_up(follower)

    # --- Out

    def topic_changed(self, topic: str, version: int) -> None:
        self.push(topic_frame(topic, version))

    def topic_gone(self, topic: str, version: int) -> None:
        self.watched.discard(topic)
        self.push(topic_frame(topic, version))
        self.ask_access()

    def ask_access(self) -> None:
        """Something of this page's is gone, maybe its user: look now and not in a minute."""
        self._asked.set()

    def owes_an_end(self) -> bool:
        """Whether an end that is known here is still on its way to the page."""
        return bool(self._outbox) or any(one.tail.is_ending for one in self.followers.values())

    def room(self) -> int:
        """How many bytes may go before the page acknowledges some."""
        return conf.UNACKED_BYTES - self._unacked_bytes

    def push(self, frame: Frame) -> None:
        """Give a frame to the browser; the order of calls is the order on the wire."""
        self._number += 1
        text = frame.text(self.generation, self._number)
        if not self._unacked:
            self._acked_at = self.hub.time()
        self._unacked.append((self._number, frame.size))
        self._unacked_bytes += frame.size
        self._outbox.append(text)
        self._wake.set()

    async def _send_outbox(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._outbox:
                    await self.base_send({"type": "websocket.send", "text": self._outbox.popleft()})
                self._sent_at = self.hub.time()
        except OSError:
            # The page is gone; the server says so as well.
            return
        except Exception as error:
            # Whatever it was: a page must never wait at a socket on which nothing comes.
            log_failure(logger, error, "A frame could not be sent")
            await self.close(TRY_AGAIN)

    async def _keep(self) -> None:
        """Heartbeats, the limit for acknowledgements, and the access asked again."""
        asked_at = self.hub.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(conf.HEARTBEAT_SECONDS):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                asked_at = -math.inf
            now = self.hub.time()
            if self._unacked and now - self._acked_at > conf.UNACKED_SECONDS:
                await self.close(TRY_AGAIN)
                return
            if now - self._sent_at >= conf.HEARTBEAT_SECONDS * 0.9:
                self.push(BEAT)
            if now - asked_at >= conf.ACCESS_SECONDS:
                asked_at = now
                try:
                    await self._ask_again()
                except DatabaseError as error:
                    asked_at = -math.inf
                    logger.warning("Access is asked again later: %s", type(error).__name__)

    async def _ask_again(self) -> None:
        user = await run_consumer(user_of_session, self.session_key)
        if user.pk != self.user.pk:
            await self.close(SIGNED_OUT)
            return
        self.user = user
        for stream_id, follower in list(self.followers.items()):
            if not await run_consumer(_may_read, user, stream_id):
                follower.gone()


def _may_read(user: Any, stream_id: UUID) -> bool:
    # What a hook is likely to want; another field is read when it is asked for.
    try:
        stream = Stream.objects.only("generator", "owner").get(pk=stream_id)
    except Stream.DoesNotExist:
        return False
    return may_read(user, stream)


async def close_all_sockets() -> None:
    """Close all sockets, so that their pages come back: to another process, where there is one."""
    get_hub().is_draining = True
    closing = (one.close(RESTARTING) for one in list(_sockets))
    await asyncio.gather(*closing, return_exceptions=True)


async def see_ends_off() -> None:
    """Wait until the pages of this process were given the ends that it knows, or had their time."""
    for _ in range(SEE_OFF_STEPS):
        if not any(one.owes_an_end() for one in _sockets):
            return
        await asyncio.sleep(SEE_OFF_SECONDS)


@receiver(user_logged_out)
def close_sockets_of_session(request: HttpRequest, **kwargs: Any) -> None:
    """Who signs out in one tab stops reading in all tabs of the browser, at once.

    Sockets in other processes ask again within ACCESS_SECONDS; those of a user who was blocked or
    deleted as soon as what they show is gone.
    """
    key = request.session.session_key
    for one in list(_sockets):
        if key and one.session_key == key:
            asyncio.run_coroutine_threadsafe(one.close(SIGNED_OUT), one.loop)

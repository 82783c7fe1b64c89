"""What holds a socket in the benchmark: a page's tab, and a cheap follower of a stream.

Both speak the page's own protocol and acknowledge as the page does.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from .page import Shown, attribute, parse_frame, tags_with, topics_of
from .texts import clock

ACK_BYTES = 32_768
ACK_SECONDS = 1.0
NOTICE_SECONDS = 0.15


class Socket:
    """One WebSocket to the site."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http, self.url = http, url
        # Set with the first text, or when none will come.
        self.flowing = asyncio.Event()
        self.first_text_at: float | None = None
        # Of the stream that it follows, once it does.
        self.shown: Shown | None = None
        self.frames = self.frame_bytes = 0
        self.unacked = 0
        self.newest = 0
        self.ack_timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def connect(self, path: str) -> None:
        # The largest window, as browsers offer it.
        self.socket = await self.http.ws_connect(
            self.url + path, origin=self.url, compress=15, max_msg_size=0
        )
        await self.send(type="hello", generation=1)

    async def follow(self, shown: Shown) -> None:
        """Follow the running answer from where `shown` stands."""
        self.shown = shown
        if shown.seen:
            self.text_came()
        await self.send(type="follow", stream=shown.stream, cut=shown.cut, key=shown.key)

    async def next_frame(self) -> str:
        """The next message of the server. Raises ConnectionError."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(f"the socket was closed with {self.socket.close_code}")
        text: str = message.data
        self.frames += 1
        self.frame_bytes += len(text)
        self.newest += 1
        self.acknowledge_soon(len(text))
        return text

    def apply(self, message: str, number: int, now: int) -> dict[str, Any]:
        """Apply frame `number`, which came at `now`; its header. Raises ConnectionError."""
        header, fragments = parse_frame(message)
        if header["n"] != number:
            raise ConnectionError(f"frame {header['n']} came where {number} was expected")
        if header["t"] == "gone":
            raise ConnectionError("the stream is gone")
        if header["t"] in ("frame", "end"):
            assert self.shown
            self.shown.apply(header, fragments, now)
        return header

    def text_came(self) -> None:
        if self.first_text_at is None:
            self.first_text_at = time.monotonic()
            self.flowing.set()

    def acknowledge_soon(self, size: int) -> None:
        self.unacked += size
        if self.unacked >= ACK_BYTES:
            self.acknowledge()
        elif self.ack_timer is None:
            loop = asyncio.get_running_loop()
            self.ack_timer = loop.call_later(ACK_SECONDS, self.acknowledge)

    def acknowledge(self) -> None:
        if self.ack_timer is not None:
            self.ack_timer.cancel()
        self.ack_timer, self.unacked = None, 0
        if not self.socket.closed:
            self.spawn(self.send(type="ack", n=self.newest))

    def spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))

    async def close(self) -> None:
        if self.ack_timer is not None:
            self.ack_timer.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if hasattr(self, "socket"):
            await self.socket.close()


class Tab(Socket):
    """One page with its socket; each frame is applied when it comes."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        super().__init__(http, url)
        self.topics: dict[str, tuple[int, str]] = {}
        # Not set while a form is on its way: its answer may bring what topics announce.
        self.answered = asyncio.Event()
        self.answered.set()

    async def open(self, path: str) -> str:
        """Load a page and open its socket; the page."""
        async with self.http.get(self.url + path) as response:
            response.raise_for_status()
            page = await response.text()
        (place,) = tags_with(page, "ws-connect")
        self.socket_path = attribute(place, "ws-connect")
        await self.connect(self.socket_path)
        await self.watch(page)
        return page

    async def watch(self, page: str) -> None:
        """Watch the topics of a page or fragment, at the versions it shows."""
        for topic, (version, url) in topics_of(page).items():
            self.topics[topic] = (version, url)
            await self.send(type="watch", topic=topic, version=version)

    async def read(self) -> None:
        """Apply frames until the answer has ended. Raises ConnectionError."""
        assert self.shown
        while not self.shown.status:
            message = await self.next_frame()
            header = self.apply(message, self.newest, clock())
            if self.shown.seen:
                self.text_came()
            for topic, version in header.get("topics", {}).items():
                self.bring(topic, version)
            if header["t"] == "topic":
                self.spawn(self.fetch_change(header["topic"], header["version"]))

    def bring(self, topic: str, version: int) -> None:
        """An end frame brings a version to the page that had the one before."""
        known, url = self.topics.get(topic, (0, ""))
        if known == version - 1:
            self.topics[topic] = (version, url)

    async def fetch_change(self, topic: str, version: int) -> None:
        """What the element's own hx-get does when its topic has changed, as the page's module
        waits for an answer or an end frame that may bring the version."""
        await asyncio.sleep(NOTICE_SECONDS)
        await self.answered.wait()
        known, url = self.topics[topic]
        if version <= known:
            return
        self.topics[topic] = (version, url)
        async with self.http.get(self.url + url, headers={"HX-Request": "true"}) as response:
            response.raise_for_status()
            await self.watch(await response.text())


class Follower(Socket):
    """A socket without a page, one of many on a stream: its frames are kept and applied later."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        super().__init__(http, url)
        self.received: list[tuple[int, str]] = []

    async def read(self) -> None:
        """Keep frames, with the time when they came, until the answer has ended."""
        while True:
            message = await self.next_frame()
            self.received.append((clock(), message))
            header = message.partition("-->")[0]
            if '"t":"beat"' not in header:
                self.text_came()
            if '"t":"end"' in header or '"t":"gone"' in header:
                return

    def replay(self) -> None:
        """Apply what was received, as a page would have. Raises ConnectionError."""
        for number, (now, message) in enumerate(self.received, start=1):
            self.apply(message, number, now)

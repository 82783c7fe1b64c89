"""A tab in the lab: speaks the page's socket protocol as `streaming.js` does, on a small document.

At every frame the document's text must be that of the oracle's text, rendered up to the position
that the frame names. The position is the server's claim; what it is held against is not.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from streaming.rendering import wire_size

from .dom import Element, swap, words
from .people import AWAY, Person
from .watched import Sight, Watched

ACK_BYTES = 32 * 1024
ACK_SECONDS = 1.0
# Silence, and how late it may be noticed.
SILENCE_SECONDS = 15.0 + 2.5
NOTICE_SECONDS = 0.15
BACKOFF_SECONDS = 0.25
PROMPT_SECONDS, PROMPT_ATTEMPTS, LONG_SECONDS = 1.5, 30, 10.0
LASTING_SECONDS = 5.0
SOCKET_PATH = "/ws/streaming/"
# The close code for whoever may not read here any more.
SIGNED_OUT = 4401


@dataclass
class _Acks:
    number: int = 0
    size: int = 0
    sent_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


@dataclass
class Tab:
    """One page of one chat; `run` keeps it until its answer has ended."""

    watched: Watched
    sight: Sight = field(init=False)
    document: Element = field(init=False)
    chance: random.Random = field(default_factory=random.Random)
    # Closes the present connection as a lost network would; no socket opens while it is set.
    offline: bool = False
    sockets: int = 0
    # Whether the page's text is held against the oracle at each frame.
    checks_frames: bool = True
    closes: list[int | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sight = self.watched.sight("tab")
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._generation = 0
        self._online = asyncio.Event()
        self._online.set()
        self._acks = _Acks()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[str] = set()
        # topic -> version known from the page.
        self._opened_at = 0.0

    @property
    def person(self) -> Person:
        return self.watched.person

    # --- The page

    async def load(self) -> None:
        """Load the page, as opening or reloading the tab does."""
        self.document = await self.person.page(self.watched.path)
        self._check_shown()
        if not self.document.with_attribute("data-stream"):
            # Drawn after the end: the whole text stands there.
            answer = answer_of(self.document)
            self.sight.final_html = body_html(answer)
            self.sight.end(status_of(answer))

    async def run(self) -> None:
        """Follow the answer until its end, whatever happens to the connection."""
        if not hasattr(self, "document"):
            await self.load()
        attempts = 0
        while not self.sight.status:
            await self._online.wait()
            began = asyncio.get_running_loop().time()
            with suppress(*AWAY):
                await self._live()
            if self.sight.status:
                break
            if len(self.sight.lost_at) == len(self.sight.back_at):
                self.sight.lost_at.append(asyncio.get_running_loop().time())
            if asyncio.get_running_loop().time() - began > LASTING_SECONDS:
                attempts = 0
            most = PROMPT_SECONDS if attempts < PROMPT_ATTEMPTS else LONG_SECONDS
            backoff = min(most, BACKOFF_SECONDS * 2**attempts)
            attempts += 1
            await asyncio.sleep(backoff * self.chance.random())
        await self.close()

    def go_offline(self) -> None:
        """Lose the network: nothing more is heard or sent until `go_online`."""
        self._online.clear()
        if self._socket is not None and self._socket._response.connection is not None:
            transport = self._socket._response.connection.transport
            if transport is not None:
                transport.abort()

    def go_online(self) -> None:
        self._online.set()

    async def _live(self) -> None:
        """One socket from its opening to its end. Raises one of AWAY."""
        self._generation += 1
        self._acks = _Acks()
        self._asked.clear()
        async with self.person.open_socket(SOCKET_PATH) as socket:
            self._socket = socket
            self.sockets += 1
            await self._send(type="hello", generation=self._generation)
            for element in self.document.with_attribute("data-stream"):
                await self._follow(element)
            for element in self.document.with_attribute("data-topic"):
                await self._watch(element)
            while not self.sight.status:
                message = await socket.receive(timeout=SILENCE_SECONDS)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.closes.append(socket.close_code)
                    if socket.close_code == SIGNED_OUT:
                        self.sight.end("gone")
                    return
                await self._receive(message.data)

    async def _send(self, **message: Any) -> None:
        if self._socket is not None and not self._socket.closed:
            await self._socket.send_str(json.dumps(message, separators=(",", ":")))

    async def _follow(self, element: Element) -> None:
        stream = element.get("data-stream")
        self._asked.add(stream)
        cut = int(element.get("data-cut") or -1)
        end, key = int(element.get("data-end") or 0), element.get("data-key")
        await self._send(type="follow", stream=stream, cut=cut, end=end, key=key)

    async def _watch(self, element: Element) -> None:
        version = int(element.get("data-version"))
        await self._send(type="watch", topic=element.get("data-topic"), version=version)

    # --- Frames

    async def _receive(self, message: str) -> None:
        encoded, _, fragments = message.removeprefix("<!--").partition("-->")
        header = json.loads(encoded)
        if header["n"] != self._acks.number + 1:
            self.sight.problem(f"frame {header['n']} came after {self._acks.number}")
        self._acks.number = header["n"]
        self.sight.largest = max(self.sight.largest, wire_size(message))
        if any(secret in message for secret in self.watched.secrets):
            self.sight.problem("a frame shows what nobody may see")
        if header["g"] != self._generation:
            # Sent before the server had heard this socket's hello.
            return
        await self._acknowledge(len(message))
        kind = header["t"]
        if kind == "topic":
            self._spawn(self._fetch(header["topic"], header["version"]))
        elif kind == "gone":
            if header["s"] == self.watched.stream:
                self.sight.end("gone")
        elif kind in ("frame", "end"):
            await self._apply(header, fragments)

    async def _apply(self, header: dict[str, Any], fragments: str) -> None:
        stream = header["s"]
        element = self.document.find(f"stream-{stream}")
        if element is None or "data-stream" not in element.attributes:
            return
        in_step = int(element.get("data-cut") or -1) == header["from"]
        if not header["full"] and not (in_step and element.get("data-key") == header["key"]):
            # Out of step: ask once for what is missing.
            if stream not in self._asked:
                await self._follow(element)
            return
        self._asked.discard(stream)
        element.attributes |= {
            "data-cut": str(header["cut"]),
            "data-end": str(header["end"]),
            "data-key": header["key"],
        }
        self._put(header, fragments)
        if header["t"] == "end":
            element.attributes["data-status"] = header["status"]
            del element.attributes["data-stream"]
        if stream == self.watched.stream:
            self._check_shown()
            if header["t"] == "end":
                self._finish(element)
                self.sight.end(header["status"])
        if len(self.sight.back_at) < len(self.sight.lost_at):
            self.sight.back_at.append(asyncio.get_running_loop().time())

    def _put(self, header: dict[str, Any], fragments: str) -> None:
        """Change the document as the frame says."""
        try:
            rest = swap(self.document, fragments)
        except LookupError as error:
            self.sight.problem(str(error))
            return
        if any(not isinstance(one, str) or one.strip() for one in rest):
            self.sight.problem("a frame holds what is no out-of-band fragment")

    def _finish(self, element: Element) -> None:
        self.sight.final_html = body_html(element)

    def _check_shown(self) -> None:
        """Hold what the page shows against the oracle."""
        element = self.document.find(f"stream-{self.watched.stream}")
        if element is None:
            # Drawn after the end: checked with the fresh page.
            return
        end = int(element.get("data-end"))
        if not self.checks_frames:
            self.watched.saw(self.sight, end)
            return
        body = self.document.find(f"stream-{self.watched.stream}-body")
        assert body is not None
        is_over = "data-stream" not in element.attributes
        if words(body.text()) != self.watched.expected.words(end, is_over=is_over):
            self.sight.problem(f"at {end} the page shows another text")
        self.watched.saw(self.sight, end)

    async def _acknowledge(self, size: int) -> None:
        acks, loop = self._acks, asyncio.get_running_loop()
        acks.size += size
        if acks.size >= ACK_BYTES or loop.time() - acks.sent_at >= ACK_SECONDS:
            await self._send_ack(acks)
        elif acks.timer is None:
            acks.timer = loop.call_later(ACK_SECONDS, self._ack_later, acks)

    def _ack_later(self, acks: _Acks) -> None:
        if acks is self._acks:
            self._spawn(self._send_ack(acks))

    async def _send_ack(self, acks: _Acks) -> None:
        if acks.timer is not None:
            acks.timer.cancel()
        acks.timer, acks.size = None, 0
        acks.sent_at = asyncio.get_running_loop().time()
        with suppress(*AWAY):
            await self._send(type="ack", n=acks.number)

    # --- Topics: what changed is fetched by the element's own hx-get

    async def _fetch(self, topic: str, version: int) -> None:
        await asyncio.sleep(NOTICE_SECONDS)
        element = next(
            (e for e in self.document.with_attribute("data-topic") if e.get("data-topic") == topic),
            None,
        )
        if element is None or int(element.get("data-version")) >= version:
            return
        headers = {"HX-Request": "true", "HX-Current-URL": self.watched.path}
        answer = await self.person.ask_for(element.get("hx-get"), headers=headers)
        if answer.status != 200:
            return
        try:
            element.put(swap(self.document, answer.text))
        except LookupError as error:
            self.sight.problem(str(error))
            return
        for fresh in self.document.with_attribute("data-topic"):
            await self._watch(fresh)
        for fresh in self.document.with_attribute("data-stream"):
            if fresh.get("data-stream") not in self._asked:
                await self._follow(fresh)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._acks.timer is not None:
            self._acks.timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()


def answer_of(document: Element) -> Element:
    """The newest answer of a chat's page."""
    return [e for e in document.elements() if "message-assistant" in e.get("class").split()][-1]


def status_of(answer: Element) -> str:
    return next(e.get("data-status") for e in answer.elements() if "data-status" in e.attributes)


def body_html(element: Element) -> str:
    """The canonical HTML of an answer's text, whether it was streamed or drawn at once."""
    body = next(e for e in element.elements() if "stream-body" in e.get("class").split())
    for wrapper in list(body.children):
        if isinstance(wrapper, Element) and "stream-open" in wrapper.get("class").split():
            wrapper.put(wrapper.children)
    return body.html().strip()

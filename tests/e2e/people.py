"""A person without a browser: pages, forms and the page's socket over HTTP, by the page's rules."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import aiohttp

from conversations.bench.page import composer_of, parse_frame
from tests.streaming.pages import apply

STREAM = re.compile(r'data-stream="([0-9a-f-]{36})"')


class Person:
    """One browser's cookies; may visit several servers of one site under one name."""

    def __init__(self) -> None:
        # As many connections as a test opens: a crowd would wait for its own sockets otherwise.
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0),
        )
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []

    async def __aenter__(self) -> Person:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for socket in self._sockets:
            # Not with the session alone: what is left of them would be complained of later.
            await socket.close()
        await self.http.close()

    async def get(self, url: str) -> str:
        async with self.http.get(url) as response:
            response.raise_for_status()
            return await response.text()

    async def send(self, site: str, content: str, model: str = "echo:echo") -> str:
        """Send a first message by the start page's form; the chat's page."""
        form = composer_of(await self.get(site + "/"))
        fields = form.fields | {"content": content, "model": model}
        headers = {"Referer": site + "/", "Origin": site}
        async with self.http.post(site + form.action, data=fields, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def ask(self, site: str, content: str, model: str = "echo:echo") -> str:
        """As `send`; the id of the answer's stream, which must not be over at once."""
        match = STREAM.search(await self.send(site, content, model))
        assert match
        return match[1]

    async def follow(self, site: str, stream: str) -> Reader:
        """Open a socket and follow a stream from nothing."""
        socket = await self.http.ws_connect(
            f"{site}/ws/streaming/",
            origin=site,
            # A server that was killed says no goodbye.
            timeout=aiohttp.ClientWSTimeout(ws_close=1),
        )
        self._sockets.append(socket)
        await socket.send_str(json.dumps({"type": "hello", "generation": 1}))
        await socket.send_str(
            json.dumps({"type": "follow", "stream": stream, "cut": -1, "key": ""})
        )
        return Reader(socket, stream)


class Reader:
    """What a page shows of one stream, frame by frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, stream: str) -> None:
        self.socket = socket
        self.stream = stream
        self.body = ("", "")
        self.end = 0
        self.status = ""
        self.ends: list[int] = []

    async def read(self) -> dict[str, Any]:
        """The next frame, applied and acknowledged. Raises ConnectionError when closed."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(f"closed with {self.socket.close_code}")
        header, fragments = parse_frame(message.data)
        if header["t"] in ("frame", "end"):
            self.body = apply(self.body, fragments)
            self.end = header["end"]
            self.ends.append(self.end)
            self.status = header.get("status", "")
        await self.socket.send_str(json.dumps({"type": "ack", "n": header["n"]}))
        return header

    async def until(self, length: int) -> None:
        """Read until the text shown reaches `length` code points."""
        async with asyncio.timeout(30):
            while self.end < length:
                await self.read()

    async def until_end(self) -> None:
        async with asyncio.timeout(60):
            while not self.status:
                await self.read()

    @property
    def html(self) -> str:
        return "".join(self.body)

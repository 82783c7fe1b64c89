"""A page as the tests play it: its socket's protocol, and the document that the frames make."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import zip_longest
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from streaming.routing import websocket_urlpatterns
from streaming.security import SameOrigin

HEADER = re.compile(r"^<!--(\{.*?\})-->")
FRAGMENT = re.compile(r'<div hx-swap-oob="(\w+):#stream-[0-9a-f-]{36}([^"]*)">')
PATIENCE_SECONDS = 10


def application() -> Any:
    from channels.routing import URLRouter

    return SameOrigin(URLRouter(websocket_urlpatterns))


@sync_to_async
def session_of(user: Any) -> str:
    """A session in which `user` is signed in; its key."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return store.session_key or ""


def apply(body: tuple[str, str], html: str) -> tuple[str, str]:
    """(closed, open) HTML after the fragments of a frame, as htmx swaps them."""
    closed, open_html = body
    matches = list(FRAGMENT.finditer(html))
    for match, following in zip_longest(matches, matches[1:]):
        stop = following.start() if following else len(html)
        inner = html[match.end() : stop].removesuffix("</div>")
        swap, target = match[1], match[2]
        if (swap, target) == ("beforebegin", "-open"):
            closed += inner
        elif (swap, target) == ("innerHTML", "-open"):
            open_html = inner
        elif (swap, target) == ("innerHTML", "-body"):
            closed, _, rest = inner.partition('<div id="stream-')
            open_html = rest[rest.index(">") + 1 :].removesuffix("</div>")
        elif (swap, target) == ("beforeend", "-open code"):
            head, end, foot = open_html.rpartition("</code>")
            open_html = head + inner + end + foot
        else:
            assert target in ("-foot", "-note"), target
    return closed, open_html


class Page:
    """One socket and what its page would show."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.generation = 1
        self.acks = True
        self.headers: list[dict[str, Any]] = []
        self.body: dict[str, tuple[str, str]] = {}
        # stream -> (cut, key)
        self.cursor: dict[str, tuple[int, str]] = {}

    @classmethod
    async def open(
        cls, user: Any = None, *, origin: str | None = "http://testserver", **headers: str
    ) -> Page:
        given = [(b"host", b"testserver")]
        if origin is not None:
            given.append((b"origin", origin.encode()))
        if user is not None:
            cookie = f"{settings.SESSION_COOKIE_NAME}={await session_of(user)}"
            given.append((b"cookie", cookie.encode()))
        page = cls(WebsocketCommunicator(application(), "/ws/streaming/", headers=given))
        page.accepted, page.code = await page.communicator.connect(timeout=PATIENCE_SECONDS)
        if page.accepted:
            await page.say(type="hello", generation=page.generation)
        return page

    async def say(self, **message: Any) -> None:
        await self.communicator.send_to(text_data=json.dumps(message))

    async def follow(self, stream_id: UUID | str, cut: int = -1, key: str = "") -> None:
        self.body.setdefault(str(stream_id), ("", ""))
        self.cursor[str(stream_id)] = (cut, key)
        await self.say(type="follow", stream=str(stream_id), cut=cut, key=key)

    async def frame(self, timeout: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The next frame's header, applied and acknowledged as the page's module does."""
        message = await self.communicator.receive_output(timeout)
        if message["type"] == "websocket.close":
            return {"t": "close", "code": message["code"]}
        match = HEADER.match(message["text"])
        assert match, message
        header = json.loads(match[1])
        assert header["g"] == self.generation
        assert header["n"] == len([one for one in self.headers if one["t"] != "close"]) + 1
        self.headers.append(header)
        if header["t"] in ("frame", "end"):
            stream = header["s"]
            cut, key = self.cursor[stream]
            if not header["full"]:
                assert (header["from"], header["key"]) == (cut, key), "out of step"
            self.body[stream] = apply(self.body[stream], message["text"][match.end() :])
            self.cursor[stream] = (header["cut"], header["key"])
        if self.acks:
            await self.say(type="ack", n=header["n"])
        header["html"] = message["text"][match.end() :]
        return header

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (header := await self.frame())["t"] != kind:
                pass
        return header

    async def until_end_is(self, end: int) -> dict[str, Any]:
        """Frames until one says that the text reaches `end`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (header := await self.frame()).get("end") != end:
                pass
        return header

    def html(self, stream_id: UUID) -> str:
        return "".join(self.body[str(stream_id)])

    async def close(self) -> None:
        await self.communicator.disconnect(timeout=PATIENCE_SECONDS)

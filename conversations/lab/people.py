"""A person in the lab: one browser's cookies, behind something like a proxy over the servers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from conversations.bench.page import composer_of

from .dom import Element, parse

# A request that finds no server is sent to the next one, and again after a while.
RETRY_SECONDS = 0.1
# A form is sent again (with its own key) until it was answered, as a person would.
PATIENCE_SECONDS = 60.0
SIGN_IN_PATH = "/accounts/sign-in/guest/"
AWAY = (aiohttp.ClientError, OSError, TimeoutError)


class HasUrl(Protocol):
    """A server, or what stands before several."""

    @property
    def url(self) -> str: ...


@dataclass
class Answer:
    """What a server answered."""

    status: int
    text: str
    url: str
    headers: dict[str, str]


class Person:
    """Signs in, sends forms and loads pages; each request goes to the next server that answers."""

    def __init__(self, servers: Sequence[HasUrl], first: int = 0, **connector: Any) -> None:
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0, force_close=True, **connector),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        self._servers = list(servers)
        self._turns = itertools.count(first)

    def next_site(self) -> str:
        """The address of the server whose turn it is."""
        return self._servers[next(self._turns) % len(self._servers)].url

    @asynccontextmanager
    async def open_socket(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to the next server that listens, as a proxy would find it.

        Raises one of AWAY.
        """
        for others in reversed(range(len(self._servers))):
            site = self.next_site()
            try:
                socket = await self.http.ws_connect(
                    site + path, origin=site, compress=0, max_msg_size=0
                )
                break
            except aiohttp.ClientConnectorError:
                if not others:
                    raise
        try:
            yield socket
        finally:
            await socket.close()

    async def close(self) -> None:
        await self.http.close()

    async def once(
        self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request to one server. Raises one of AWAY."""
        site = self.next_site()
        headers = {"Origin": site, "Referer": f"{site}/", **(headers or {})}
        method = "GET" if form is None else "POST"
        async with self.http.request(method, site + path, data=form, headers=headers) as response:
            return Answer(
                response.status,
                await response.text(),
                response.url.path,
                dict(response.headers),
            )

    async def ask_for(
        self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """The same until a server has answered with less than 500. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await self.once(path, form, headers)
                except AWAY:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if answer.status < 500:
                    return answer
                await asyncio.sleep(RETRY_SECONDS)

    async def page(self, path: str) -> Element:
        """The document at `path`. Raises LookupError for any status but 200."""
        answer = await self.ask_for(path)
        if answer.status != 200:
            raise LookupError(f"GET {path} was answered {answer.status}")
        return parse(answer.text)

    async def sign_in(self) -> None:
        """Become a guest, by the button."""
        page = parse((await self.ask_for("/")).text)
        token = next(e for e in page.elements() if e.get("name") == "csrfmiddlewaretoken")
        form = {"csrfmiddlewaretoken": token.get("value")}
        answer = await self.ask_for(SIGN_IN_PATH, form)
        if answer.status != 200:
            raise LookupError(f"Signing in was answered {answer.status}")

    async def compose(self, content: str, model: str) -> tuple[str, dict[str, str]]:
        """Where the start page's composer is sent, and what: the fields of one filled form."""
        form = composer_of((await self.ask_for("/")).text)
        return form.action, form.fields | {"content": content, "model": model}

    async def start_chat(self, script: dict[str, Any], model: str) -> tuple[str, Element]:
        """Send a first message that tells the scripted provider what to answer.

        Returns the path of the chat and its page.
        """
        action, fields = await self.compose(f"script {json.dumps(script)}", model)
        answer = await self.ask_for(action, fields)
        if answer.status != 200:
            raise LookupError(f"A first message was answered {answer.status}")
        return answer.url, parse(answer.text)

"""Observers of raw text: server-sent events and long-poll, resumed by their own count."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from .people import AWAY, RETRY_SECONDS
from .watched import Sight, Watched

OFFSET_DIGITS = 16
SILENCE_SECONDS = 30.0
# The stream is deleted, or with it the person who asks.
GONE = (401, 404)
# Between two questions of a long-poll reader: without it they would be most of the site's work.
POLL_SECONDS = 0.2


async def read_events(watched: Watched) -> None:
    """Follow the answer by `live=sse` until its end."""
    sight = watched.sight("sse")
    while not sight.status:
        try:
            async with _open(watched, sight, "sse") as response:
                if response.status in GONE:
                    sight.end("gone")
                elif response.status == 200:
                    _found(sight)
                    await _take_events(watched, sight, response)
                else:
                    _lost(sight)
        except AWAY:
            _lost(sight)
        if not sight.status:
            await asyncio.sleep(RETRY_SECONDS)


async def poll(watched: Watched) -> None:
    """Follow the answer by `live=long-poll` until its end."""
    sight = watched.sight("long-poll")
    while not sight.status:
        try:
            async with _open(watched, sight, "long-poll") as response:
                if response.status in GONE:
                    sight.end("gone")
                elif response.status in (200, 204):
                    _found(sight)
                    _take(watched, sight, await response.text())
                    if "Stream-Closed" in response.headers:
                        sight.end(response.headers["Stream-Status"])
                    else:
                        await asyncio.sleep(POLL_SECONDS)
                else:
                    _lost(sight)
                    await asyncio.sleep(RETRY_SECONDS)
        except AWAY:
            _lost(sight)
            await asyncio.sleep(RETRY_SECONDS)


def _open(watched: Watched, sight: Sight, live: str) -> aiohttp.client._RequestContextManager:
    """A live read from where this observer stands, by its own count of code points."""
    person = watched.person
    offset = f"{len(sight.text):0{OFFSET_DIGITS}d}"
    url = f"{person.next_site()}/streams/{watched.stream}"
    return person.http.get(
        url,
        params={"offset": offset, "live": live},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_SECONDS),
    )


async def _take_events(watched: Watched, sight: Sight, response: aiohttp.ClientResponse) -> None:
    """WHATWG HTML, 9.2 Server-sent events, as far as the endpoint uses it."""
    name, data = "", []
    async for raw in response.content:
        line = raw.decode().removesuffix("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and name:
            if name == "data":
                _take(watched, sight, "\n".join(data))
            elif name == "control":
                control = json.loads("\n".join(data))
                if control.get("streamClosed"):
                    sight.end(control["status"])
            name, data = "", []


def _take(watched: Watched, sight: Sight, text: str) -> None:
    if text:
        sight.text += text
        watched.saw(sight, len(sight.text))


def _lost(sight: Sight) -> None:
    loop = asyncio.get_running_loop()
    if len(sight.lost_at) == len(sight.back_at):
        sight.lost_at.append(loop.time())


def _found(sight: Sight) -> None:
    if len(sight.back_at) < len(sight.lost_at):
        sight.back_at.append(asyncio.get_running_loop().time())

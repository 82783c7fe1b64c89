"""The HTTP surface of a stream on the real server: live text by SSE, long-poll and POST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import Server, running_server

from .people import Person

WORDS = "read me while I am written"
ANSWER = f'I received your message: "{WORDS}". How can I help you further?'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, {"ECHO_DELAY_MILLISECONDS": "20"}) as site:
        yield site


async def sse(person: Person, url: str) -> tuple[str, dict[str, object], int]:
    """The text of a live read, its last control event, and how many data events came."""
    text, control, events = "", {}, 0
    async with person.http.get(url) as response:
        assert response.status == 200
        kind, lines = "", []
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data:"):
                lines.append(line.removeprefix("data:").removeprefix(" "))
            elif not line and lines:
                if kind == "data":
                    text += "\n".join(lines)
                    events += 1
                else:
                    control = json.loads("".join(lines))
                lines = []
    return text, control, events


async def long_polls(person: Person, url: str) -> str:
    """Poll from the start until the stream is closed; the text."""
    text, offset = "", "-1"
    while True:
        async with person.http.get(f"{url}?offset={offset}&live=long-poll") as response:
            assert response.status in (200, 204)
            text += await response.text()
            offset = response.headers["Stream-Next-Offset"]
            if "Stream-Closed" in response.headers:
                return text


async def test_readers_of_every_kind_get_the_text_while_it_is_written(server: Server) -> None:
    async with Person() as person, asyncio.timeout(30):
        stream = await person.ask(server.url, WORDS)
        url = f"{server.url}/streams/{stream}"
        # More waiting readers than requests run at once: they must not hold up the pages.
        readers = [asyncio.create_task(long_polls(person, url)) for _ in range(12)]
        streamed = asyncio.create_task(sse(person, f"{url}?offset=-1&live=sse"))
        page = await person.get(server.url + "/")
        assert "composer" in page
        assert not streamed.done()
        text, control, events = await streamed
        assert text == ANSWER
        assert control["streamClosed"] is True
        assert events > 3
        assert await asyncio.gather(*readers) == [ANSWER] * 12


async def test_an_answer_that_starts_by_itself_is_not_started_again(server: Server) -> None:
    async with Person() as person:
        stream = await person.ask(server.url, WORDS)
        token = next(c.value for c in person.http.cookie_jar if c.key == "csrftoken")
        async with person.http.post(
            f"{server.url}/chat-stream",
            json={"streamId": stream},
            headers={"X-CSRFToken": token, "Origin": server.url},
        ) as response:
            assert (response.status, await response.text()) == (205, "")

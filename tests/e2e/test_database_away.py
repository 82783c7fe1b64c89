"""PostgreSQL goes away and comes back: what pages, readers and sockets are told meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from conversations.lab import services
from conversations.lab.process import Missing
from tests.services import Server, refuse, running_server

from .people import Person

pytestmark = pytest.mark.services

WORDS = "still here when the database is back"
ANSWER = f'I received your message: "{WORDS}". How can I help you further?'


@pytest.fixture
def postgres_of_its_own() -> Iterator[services.Postgres]:
    try:
        with services.postgres() as server:
            yield server
    except Missing as missing:
        refuse(missing)


@pytest.fixture
def server(postgres_of_its_own: services.Postgres, tmp_path: Path) -> Iterator[Server]:
    env = {"DATABASE_URL": postgres_of_its_own.url, "ECHO_DELAY_MILLISECONDS": "60"}
    with running_server(tmp_path, env) as site:
        yield site


async def test_everyone_is_told_to_come_back_and_does(
    server: Server, postgres_of_its_own: services.Postgres
) -> None:
    async with Person() as person, asyncio.timeout(120):
        stream = await person.ask(server.url, WORDS)
        asking, watching = [await person.follow(server.url, stream) for _ in range(2)]
        await asking.until(10)
        await asyncio.to_thread(postgres_of_its_own.stop, signal.SIGQUIT)

        token = next(one.value for one in person.http.cookie_jar if one.key == "csrftoken")
        for method, path, body in (
            ("GET", "/", None),
            ("GET", f"/streams/{stream}", None),
            ("GET", f"/streams/{stream}?offset=-1&live=sse", None),
            ("POST", "/chat-stream", {"streamId": stream}),
        ):
            headers = {"X-CSRFToken": token, "Origin": server.url}
            async with person.http.request(
                method, server.url + path, json=body, headers=headers
            ) as response:
                assert response.status == 503, (method, path)
                assert int(response.headers["Retry-After"]) > 0
                assert "Traceback" not in await response.text()
        async with person.http.get(server.url + "/readyz") as response:
            assert (response.status, (await response.json())["database"]) == (503, "down")
        with pytest.raises((aiohttp.WSServerHandshakeError, ConnectionError)):
            await (await person.follow(server.url, stream)).read()
        # A page that asks for something new comes back for it; the others wait.
        for reader, message in (
            (asking, {"type": "follow", "stream": stream, "cut": -1, "key": ""}),
            (watching, {"type": "watch", "topic": "conversations:1", "version": 0}),
        ):
            await reader.socket.send_str(json.dumps(message))
        with pytest.raises(ConnectionError, match="1013"):
            await asking.until_end()

        await asyncio.to_thread(postgres_of_its_own.start)
        async with asyncio.timeout(10):
            while True:
                async with person.http.get(server.url + "/readyz") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.1)
        reader = await person.follow(server.url, stream)
        await reader.until_end()
        assert (reader.status, reader.end) == ("done", len(ANSWER))
        assert "Traceback" not in server.output()

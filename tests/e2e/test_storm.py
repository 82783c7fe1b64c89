"""A restart under many open pages: all come back, and the database is not run over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psycopg
import pytest

from chatsite.servers import SERVERS
from conversations.lab import services
from conversations.lab.process import Missing
from tests.services import Server, refuse, running_server

from .people import Person

pytestmark = pytest.mark.services

TABS = 200
POOL_SIZE = 6


@pytest.fixture(scope="module")
def small_postgres() -> Iterator[services.Postgres]:
    """A PostgreSQL with 20 connections, 3 of them for its superuser."""
    try:
        with services.postgres(fsync="off", max_connections=20) as server:
            yield server
    except Missing as missing:
        refuse(missing)


@pytest.fixture(params=sorted(SERVERS))
def server(request, small_postgres: services.Postgres, tmp_path: Path) -> Iterator[Server]:
    with small_postgres.database() as url:
        env = {
            "DATABASE_URL": url,
            "DATABASE_POOL_SIZE": str(POOL_SIZE),
            "DATABASE_POOL_SECONDS": "20",
            "ECHO_DELAY_MILLISECONDS": "1000",
            "STREAMING_MAX_SOCKETS_PER_USER": str(2 * TABS),
        }
        with running_server(tmp_path, env, ["--server", request.param]) as site:
            yield site


def connections(server: Server) -> int:
    """How many the site has, as PostgreSQL counts them."""
    assert server.env is not None
    with psycopg.connect(server.env["DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert found
    return found[0]


async def come_back(person: Person, server: Server, stream: str, refusals: list[int]) -> None:
    """Open a page's socket by the page's rules, until a frame of the stream has come."""
    attempts = 0
    while True:
        await asyncio.sleep(random.random() * min(1.5, 0.25 * 2**attempts))
        attempts += 1
        try:
            reader = await person.follow(server.url, stream)
            await reader.until(1)
        except aiohttp.WSServerHandshakeError as error:
            refusals.append(error.status)
        except (aiohttp.ClientConnectionError, ConnectionError):
            pass
        else:
            return


async def test_all_pages_come_back_and_the_pool_is_not_exceeded(server: Server) -> None:
    async with Person() as person, asyncio.timeout(150):
        stream = await person.ask(server.url, "Slowly " * 40, model="echo:echo")
        refusals: list[int] = []
        for _ in range(2):
            tabs = [come_back(person, server, stream, refusals) for _ in range(TABS)]
            most = asyncio.create_task(most_connections(server))
            await asyncio.gather(*tabs)
            most.cancel()
            assert (await most) <= POOL_SIZE
            assert [status for status in refusals if status >= 500] == []
            # Forms and pages go on beside them.
            assert "composer" in await person.get(server.url + "/")
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        assert "too many" not in server.output()
        assert "Traceback" not in server.output()


async def most_connections(server: Server) -> int:
    """The most that were seen until it is cancelled."""
    most = 0
    try:
        while True:
            most = max(most, await asyncio.to_thread(connections, server))
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return most

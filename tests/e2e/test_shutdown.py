"""A stop of the real server: what it still answers, what it refuses, and what is lost: nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import psycopg
import pytest

from chatsite.servers import SERVERS
from conversations.bench.page import composer_of
from conversations.lab.provider import Script, process
from tests.services import Server, listens, running_server, wait_until

from .conftest import count, stored_text
from .people import Person

TEXT = "Every word of this answer is stored before it is shown.\n\n" * 6


@pytest.fixture(scope="module")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    scripts = {"steady": Script(text=TEXT, size=8, rate=16)}
    with process(scripts, tmp_path_factory.mktemp("provider")) as port:
        yield port


@pytest.fixture(params=sorted(SERVERS))
def server(request, provider_port: int, tmp_path: Path) -> Iterator[Server]:
    """A site on each server, whose answers cannot be carried on and take about three seconds."""
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "OPENAI_MODELS": "steady",
    }
    with running_server(tmp_path, env, ["--server", request.param]) as site:
        yield site


async def ready(person: Person, server: Server) -> tuple[int, dict[str, str]]:
    async with person.http.get(f"{server.url}/readyz") as response:
        return response.status, await response.json()


async def test_a_drain_answers_forms_and_lets_the_answer_end_and_be_seen(
    server: Server,
) -> None:
    async with Person() as person, asyncio.timeout(60):
        stream = await person.ask(server.url, "Go on", model="openai:steady")
        reader = await person.follow(server.url, stream)
        await reader.until(40)
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionError, match="1012"):
            await reader.until_end()
        status, parts = await ready(person, server)
        assert (status, parts["server"], parts["database"]) == (503, "draining", "ok")
        # No other process is there: the page comes back here and sees its answer to the end.
        again = await person.follow(server.url, stream)
        # Its answer waits for the next process; the message is stored.
        await person.ask(server.url, "One more", model="openai:steady")
        assert count(server, "conversations_conversation") == 2
        await again.until_end()
        assert (again.status, again.end) == ("done", len(TEXT))
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        assert "Traceback" not in server.output()
        with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection:
            rows = connection.execute("SELECT status, length FROM streaming_stream").fetchall()
        assert sorted(rows) == [("done", len(TEXT)), ("pending", 0)]
        # The next start takes up what waits.
        await asyncio.to_thread(server.start)
        wait_until(lambda: stored_text(server) == TEXT, "The second answer is written")


@pytest.mark.services
@pytest.mark.parametrize("name", sorted(SERVERS))
async def test_a_request_on_its_way_is_answered_before_the_process_ends(
    name: str, postgres_database: str, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": postgres_database}
    with running_server(tmp_path, env, ["--server", name]) as site:
        async with Person() as person, asyncio.timeout(60):
            form = composer_of(await person.get(site.url + "/"))
            fields = form.fields | {"content": "Late", "model": "echo:echo"}
            with psycopg.connect(postgres_database) as other:
                other.execute("LOCK TABLE conversations_message IN EXCLUSIVE MODE")
                sending = asyncio.create_task(post(person, site.url + form.action, fields))
                await asyncio.to_thread(wait_until, lambda: waits(postgres_database), "It waits")
                site.send(signal.SIGTERM)
                await asyncio.to_thread(
                    wait_until, lambda: not listens(site.port), "It listens no more"
                )
                assert site.is_running
            assert await sending == 302
            assert await asyncio.to_thread(site.process.wait, 30) == 0
        with psycopg.connect(postgres_database) as connection:
            found = connection.execute("SELECT count(*) FROM conversations_message").fetchone()
        assert found == (2,)


async def post(person: Person, url: str, fields: dict[str, str]) -> int:
    async with person.http.post(url, data=fields, allow_redirects=False) as response:
        return response.status


def waits(url: str) -> bool:
    """Whether a session of the database waits for a lock."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchone()
    assert found
    return found[0] > 0


@pytest.mark.services
async def test_health_is_told_while_every_request_waits_for_the_database(
    postgres_database: str, tmp_path: Path
) -> None:
    with running_server(tmp_path, {"DATABASE_URL": postgres_database}) as site:
        async with Person() as person, asyncio.timeout(60):
            with psycopg.connect(postgres_database) as other:
                for table in ("django_session", "streaming_stream"):
                    other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                headers = {"Cookie": "sessionid=" + "x" * 32}
                pages = [
                    asyncio.create_task(get(site.url + "/accounts/sign-in/", headers))
                    for _ in range(12)
                ]
                await asyncio.to_thread(wait_until, lambda: waits(postgres_database), "They wait")
                began = time.monotonic()
                async with person.http.get(f"{site.url}/healthz") as response:
                    assert response.status == 200
                assert time.monotonic() - began < 0.5
                answers = await asyncio.gather(*[ready(person, site) for _ in range(5)])
                assert time.monotonic() - began < 4
                assert {(status, parts["database"]) for status, parts in answers} == {(503, "down")}
                assert not any(page.done() for page in pages)
            assert set(await asyncio.gather(*pages)) == {200}
            assert (await ready(person, site))[0] == 200


async def get(url: str, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        return response.status

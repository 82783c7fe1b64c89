"""A chat and a person deleted in mid-answer, on real processes with a real provider connection."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conversations.lab.provider import ProviderServer, Script
from tests.services import running_server, wait_until

from .people import Person, Reader

# Fault F30: within so long nothing of it runs or is shown any more.
GONE_SECONDS = 2.0
TABLES = (
    "conversations_conversation",
    "conversations_message",
    "conversations_submission",
    "streaming_stream",
    "streaming_chunk",
)
MODEL = "openai:default"


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    """A provider that never ends."""
    server = ProviderServer({"default": Script(endless=True, rate=50)})
    runner = await server.start()
    yield server
    await runner.cleanup()


def env_of(provider: ProviderServer) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_MODELS": "default",
        "UNDO_SECONDS": "0",
    }


async def in_thread(function: Any, *args: Any) -> Any:
    # The provider lives on this loop: it must go on answering.
    return await asyncio.to_thread(function, *args)


async def until_gone(reader: Reader) -> None:
    while (await reader.read())["t"] != "gone":
        pass


async def until_closed(reader: Reader) -> int | None:
    try:
        while True:
            await reader.read()
    except ConnectionError:
        return reader.socket.close_code


async def test_a_deleted_chat_stops_at_once_and_is_purged_although_the_server_dies(
    provider: ProviderServer, tmp_path: Path
) -> None:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(tmp_path / "db.sqlite3", timeout=20)) as database:
            return database.execute(sql).fetchall()

    def left() -> int:
        return sum(rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES)

    stack = ExitStack()
    with stack:
        server = await in_thread(stack.enter_context, running_server(tmp_path, env_of(provider)))
        async with Person() as person:
            stream = await person.ask(server.url, "Tell me everything", MODEL)
            reader = await person.follow(server.url, stream)
            await reader.until(200)
            ((conversation,),) = rows("SELECT id FROM conversations_conversation")
            token = next(c.value for c in person.http.cookie_jar if c.key == "csrftoken")
            page = f"{server.url}/c/{conversation[:8]}-{conversation[8:12]}-{conversation[12:16]}-"
            page += f"{conversation[16:20]}-{conversation[20:]}/"
            began = time.monotonic()
            async with person.http.post(
                f"{page}delete/",
                data={"csrfmiddlewaretoken": token},
                headers={"Referer": page, "Origin": server.url},
                allow_redirects=False,
            ) as response:
                assert (response.status, response.headers["Location"]) == (
                    302,
                    f"/?deleted={page[-37:-1]}",
                )
            await until_gone(reader)
            await provider.until(open=0, left=1)
            assert time.monotonic() - began < GONE_SECONDS
            # Sooner than the chore's first look.
            server.kill9()
            assert rows("SELECT status, end_reason FROM streaming_stream") == [
                ("stopped", "deleted")
            ]
            await in_thread(server.start)
            await in_thread(wait_until, lambda: left() == 0, "The rows are removed")
            async with person.http.get(page) as response:
                assert response.status == 404


@pytest.mark.services
@pytest.mark.parametrize("has_redis", [True, False])
async def test_a_deleted_person_is_gone_in_all_processes_at_once(
    provider: ProviderServer,
    tmp_path: Path,
    postgres_database: str,
    redis_url: str,
    has_redis: bool,
) -> None:
    env = env_of(provider) | {"DATABASE_URL": postgres_database}
    if has_redis:
        env |= {"REDIS_URL": redis_url, "REDIS_PREFIX": tmp_path.name}

    def left() -> int:
        with psycopg.connect(postgres_database) as database:
            counts = [
                database.execute(f"SELECT count(*) FROM {table}").fetchone()
                for table in (*TABLES, "accounts_user")
            ]
        return sum(count[0] for count in counts if count)

    stack = ExitStack()
    with stack:
        servers = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            entered = running_server(folder, env)
            servers.append(await in_thread(stack.enter_context, entered))
        async with Person() as person:
            stream = await person.ask(servers[0].url, "Tell me everything", MODEL)
            readers = [await person.follow(server.url, stream) for server in servers]
            for reader in readers:
                await reader.until(200)
            # The command takes a while to start; the row says when it began to delete.
            blocked = asyncio.create_task(in_thread(wait_until_blocked, postgres_database))
            deletion = in_thread(
                servers[0].manage,
                "shell",
                "--command",
                "from chatsite.accounts.actions import delete_person\n"
                "from chatsite.accounts.models import User\n"
                "delete_person(User.objects.get())\n",
            )
            deletion = asyncio.create_task(deletion)
            closings = [asyncio.create_task(until_closed(reader)) for reader in readers]
            began = await blocked
            async with asyncio.timeout(GONE_SECONDS):
                assert await asyncio.gather(*closings) == [4401, 4401]
                await provider.until(open=0, left=1)
            assert time.monotonic() - began < GONE_SECONDS
            await deletion
            assert left() == 0


def wait_until_blocked(url: str) -> float:
    """Wait until nobody is active any more; when that was seen, by the monotonic clock."""
    with psycopg.connect(url, autocommit=True) as database:

        def is_blocked() -> bool:
            found = database.execute(
                "SELECT count(*) FROM accounts_user WHERE is_active"
            ).fetchone()
            return found == (0,)

        wait_until(is_blocked, "The person is blocked")
    return time.monotonic()

"""Fault F13: a server that can write to no file any more, and can again later."""

from __future__ import annotations

import asyncio
import os
import pwd
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conversations.bench.page import composer_of
from conversations.lab.provider import ProviderServer, Script
from conversations.lab.services import Postgres
from tests.services import running_server, wait_until

from .people import Person

STOP_SECONDS = 5.0
MODEL = "openai:default"


@asynccontextmanager
async def endless_provider(size: int = 22) -> AsyncIterator[ProviderServer]:
    provider = ProviderServer({"default": Script(endless=True, rate=50, size=size)})
    runner = await provider.start()
    try:
        yield provider
    finally:
        await runner.cleanup()


def env_of(provider: ProviderServer) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_MODELS": "default",
    }


async def test_a_full_disk_stops_answers_keeps_text_and_heals_without_a_restart(
    tmp_path: Path,
) -> None:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        # Read-only: this process has room, and must not put the log in order for the server.
        file = f"file:{tmp_path / 'db.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(file, timeout=20, uri=True)) as database:
            return database.execute(sql).fetchall()

    def states() -> list[tuple[Any, ...]]:
        return rows("SELECT status, end_reason FROM streaming_stream ORDER BY created_at")

    async with endless_provider() as provider, Person() as person:
        with ExitStack() as stack:
            # In a thread, also below: the provider lives on this loop.
            entered = running_server(tmp_path, env_of(provider))
            server = await asyncio.to_thread(stack.enter_context, entered)
            stream = await person.ask(server.url, "Tell me everything", MODEL)
            reader = await person.follow(server.url, stream)
            await reader.until(500)
            form = composer_of(await person.get(server.url + "/"))

            server.fill_disk()
            began = time.monotonic()
            await provider.until(open=0, left=1)
            assert time.monotonic() - began < STOP_SECONDS
            fields = form.fields | {"content": "Keep my words", "model": MODEL}
            headers = {"Referer": server.url + "/", "Origin": server.url}
            async with person.http.post(
                server.url + form.action, data=fields, headers=headers
            ) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
                assert "Keep my words" in await response.text()
            assert states() == [("streaming", "")]

            server.free_disk()
            began = time.monotonic()
            await reader.until_end()
            assert time.monotonic() - began < STOP_SECONDS
            assert (reader.status, states()) == ("error", [("error", "storage")])
            ((length, stored),) = rows(
                "SELECT max(length), group_concat(text, '') FROM (SELECT s.length, c.text FROM "
                "streaming_stream s JOIN streaming_chunk c ON c.stream_id = s.id ORDER BY c.start)"
            )
            # All that was ever shown, and nothing behind it.
            assert reader.end == length == len(stored) >= 500
            provider.scripts["default"] = Script(tokens=5)
            await person.ask(server.url, "Again", MODEL)
            await asyncio.to_thread(
                wait_until, lambda: states()[-1] == ("done", "stop"), "The next answer is done"
            )
            await asyncio.to_thread(
                wait_until,
                lambda: rows("SELECT count(*) FROM streaming_stream WHERE hook_pending") == [(0,)],
                "The sweep hands them over",
            )
            verified = await asyncio.to_thread(server.manage, "verifystreams")
            assert verified == "2 streams checked: 0 problems, 0 repaired.\n"
            assert rows("PRAGMA integrity_check") == [("ok",)]


@pytest.fixture
def small_disk(postgres: Postgres) -> Iterator[tuple[str, Path]]:
    """(DATABASE_URL, folder) of a database on a file system of 24 MiB; root alone may mount one."""
    # Not in pytest's own folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="chatsite-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("A small file system can be mounted by root only.")
    folder.chmod(0o755)
    try:
        data = folder / "data"
        data.mkdir()
        os.chown(data, pwd.getpwnam("postgres").pw_uid, -1)
        with psycopg.connect(postgres.url, autocommit=True) as database:
            database.execute(f"CREATE TABLESPACE small LOCATION '{data}'")
            database.execute("CREATE DATABASE small TABLESPACE small")
        yield postgres.url.removesuffix("/postgres") + "/small", folder
        with psycopg.connect(postgres.url, autocommit=True) as database:
            database.execute("DROP DATABASE small WITH (FORCE)")
            database.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def kept_full(folder: Path) -> Iterator[None]:
    """No room on the file system, also when PostgreSQL gives some of its own back."""
    over = threading.Event()

    def fill() -> None:
        with (folder / "filler").open("wb", buffering=0) as filler:
            while not over.is_set():
                with suppress(OSError):
                    while filler.write(bytes(4096)):
                        pass
                over.wait(0.02)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        (folder / "filler").unlink()


@pytest.mark.services
async def test_a_full_disk_under_postgresql_ends_the_answer_and_heals(
    small_disk: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = small_disk

    def states() -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as database:
            return database.execute(
                "SELECT status, end_reason FROM streaming_stream ORDER BY created_at"
            ).fetchall()

    def are_handed_over() -> bool:
        with psycopg.connect(url) as database:
            waiting = database.execute("SELECT count(*) FROM streaming_stream WHERE hook_pending")
            return waiting.fetchone() == (0,)

    async with endless_provider(size=1_000) as provider:
        with ExitStack() as stack:
            env = env_of(provider) | {"DATABASE_URL": url}
            server = await asyncio.to_thread(stack.enter_context, running_server(tmp_path, env))
            async with Person() as person:
                stream = await person.ask(server.url, "Tell me everything", MODEL)
                reader = await person.follow(server.url, stream)
                await reader.until(20_000)
                with kept_full(folder):
                    # Its pages have room for some more text.
                    await asyncio.to_thread(
                        wait_until, lambda: "No space left" in server.output(), "It is noticed"
                    )
                    began = time.monotonic()
                    await provider.until(open=0, left=1)
                    assert time.monotonic() - began < STOP_SECONDS
                await reader.until_end()
                assert states() == [("error", "storage")]
                provider.scripts["default"] = Script(tokens=5)
                await person.ask(server.url, "Again", MODEL)
                await asyncio.to_thread(
                    wait_until, lambda: states()[-1] == ("done", "stop"), "The next answer is done"
                )
                await asyncio.to_thread(wait_until, are_handed_over, "The sweep hands them over")
                verified = await asyncio.to_thread(server.manage, "verifystreams")
                assert verified == "2 streams checked: 0 problems, 0 repaired.\n"

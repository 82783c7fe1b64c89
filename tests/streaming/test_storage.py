"""A disk that is full under the journal: SQLite with a limit of pages on its connections."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections

from streaming import actions
from streaming.committing import STORAGE_PATIENCE_SECONDS
from streaming.exceptions import is_storage_failure
from streaming.executors import THREADS, run_generator
from streaming.models import EndReason, Status, Stream
from streaming.reader import hash_of

from .live import ended, row, running_supervisor, tap, text, until

pytestmark = pytest.mark.django_db(transaction=True)

create = sync_to_async(actions.create)
PAGE_BYTES = 4_096


class Disk:
    """What new connections find of room; the tests' own stay without a limit."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._command = options["init_command"]

    @sync_to_async
    def limit(self, pages_left: int) -> None:
        """Room for so many more pages."""
        with connection.cursor() as cursor:
            # Earlier tests leave free pages behind.
            cursor.execute("VACUUM")
            pages = cursor.execute("PRAGMA page_count").fetchone()[0] + pages_left
        self._options["init_command"] = f"{self._command}PRAGMA max_page_count={pages};"

    def free(self) -> None:
        self._options["init_command"] = self._command


@pytest.fixture
def disk(db: None) -> Iterator[Disk]:
    if connection.vendor != "sqlite":
        pytest.skip("A limit of pages is SQLite's; this run is on another database.")
    made = Disk(connection.settings_dict["OPTIONS"])
    yield made
    made.free()


@sync_to_async
def integrity() -> str:
    with connection.cursor() as cursor:
        return cursor.execute("PRAGMA integrity_check").fetchone()[0]


@pytest.mark.parametrize(
    ("sqlite_code", "is_one"),
    [
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_READONLY_DBMOVED, True),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_LOCKED, False),
    ],
)
def test_a_full_disk_is_told_from_a_busy_database(sqlite_code: int, is_one: bool) -> None:
    cause = sqlite3.OperationalError("words that are not looked at")
    cause.sqlite_errorcode = sqlite_code
    error = OperationalError("words")
    error.__cause__ = cause
    assert is_storage_failure(error) is is_one
    assert not is_storage_failure(OperationalError("database is locked"))


async def test_a_full_disk_ends_what_cannot_be_stored_and_keeps_what_was_shown(
    disk: Disk,
) -> None:
    await disk.limit(8)
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("shown. ")
        await until(lambda: text(stream))
        began = time.monotonic()
        generator.say("x" * 50 * PAGE_BYTES)
        final = await ended(stream)
        assert time.monotonic() - began < 5
        assert (final.status, final.end_reason) == (Status.ERROR, EndReason.STORAGE)
        assert generator.closed.is_set()
        assert await text(stream) == "shown. "
        assert final.sha256 == hash_of("shown. ")
        assert await integrity() == "ok"
        # With room again the same journal goes on.
        disk.free()
        after = await create("tests.tap")
        generator.say("y" * 50 * PAGE_BYTES, None)
        assert (await ended(after)).status == Status.DONE
        assert len(await text(after)) == 50 * PAGE_BYTES


async def test_a_disk_that_has_room_again_in_a_moment_costs_a_delay_only(disk: Disk) -> None:
    await disk.limit(8)
    async with running_supervisor(), tap() as generator:
        stream = await create("tests.tap")
        generator.say("shown. ")
        await until(lambda: text(stream))
        generator.say("x" * 50 * PAGE_BYTES, None)
        await asyncio.sleep(STORAGE_PATIENCE_SECONDS / 2)
        disk.free()
        final = await ended(stream)
        assert (final.status, final.length) == (Status.DONE, 7 + 50 * PAGE_BYTES)


async def reconnect() -> None:
    """Give the threads that hand texts over new connections: the limit is one of connections."""
    barrier = threading.Barrier(THREADS["generators"])

    def close() -> None:
        barrier.wait(10)
        connections.close_all()

    await asyncio.gather(*(run_generator(close) for _ in range(barrier.parties)))


async def test_an_end_is_stored_though_there_is_no_room_to_hand_its_text_over(disk: Disk) -> None:
    def copy(stream: Stream, body: str) -> None:
        Stream.objects.filter(pk=stream.pk).update(params={"copy": body * 50 * PAGE_BYTES})

    await disk.limit(8)
    # A sweep must find no more room than the writer.
    await reconnect()
    async with running_supervisor() as supervisor, tap(on_end=copy) as generator:
        stream = await create("tests.tap")
        generator.say("x", None)
        final = await ended(stream)
        assert (final.status, final.end_reason) == (Status.DONE, EndReason.COMPLETE)
        assert final.hook_pending
        disk.free()
        await reconnect()

        async def handed_over() -> bool:
            await supervisor.sweep_once()
            return not (await row(stream)).hook_pending

        await until(handed_over)
        final = await row(stream)
        assert len(final.params["copy"]) == 50 * PAGE_BYTES

"""`streaming.executors`: the calls of a rush share a connection, and none gets a broken one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import connection
from django.db.backends.signals import connection_created

from streaming import executors

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connected() -> Iterator[list[str]]:
    """Names of the threads that took a connection, once for each time."""
    names: list[str] = []

    def note(**kwargs: Any) -> None:
        names.append(threading.current_thread().name)

    connection_created.connect(note)
    yield names
    connection_created.disconnect(note)


@asynccontextmanager
async def busy() -> AsyncIterator[None]:
    """The chores' only thread is at work in here: what is asked of it waits."""
    begun, over = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert over.wait(10)

    task = asyncio.create_task(executors.run_chore(wait))
    assert await asyncio.to_thread(begun.wait, 10)
    yield
    over.set()
    await task


def one() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


def breaks() -> None:
    connection.ensure_connection()
    connection.connection.close()
    one()


async def test_calls_that_wait_share_one_connection(connected: list[str]) -> None:
    async with busy():
        calls = [asyncio.create_task(executors.run_chore(one)) for _ in range(20)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*calls) == [1] * 20
    # SQLite's was there before.
    assert len(connected) <= 1


async def test_the_connection_goes_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = []
    monkeypatch.setattr(executors, "release_connections", lambda: given_back.append(1))
    async with busy():
        calls = [asyncio.create_task(executors.run_chore(one)) for _ in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    # With the call that kept the thread busy, 101: two rounds are full. An answer comes before the
    # connection of the third goes back.
    assert len(given_back) >= 2


async def test_a_broken_connection_is_not_handed_on() -> None:
    async with busy():
        first = asyncio.create_task(executors.run_chore(breaks))
        second = asyncio.create_task(executors.run_chore(one))
        await asyncio.sleep(0)
    with pytest.raises(DatabaseError):
        await first
    assert await second == 1


async def test_a_call_whose_caller_left_is_not_made() -> None:
    made: list[int] = []
    async with busy():
        left = asyncio.create_task(executors.run_chore(made.append, 1))
        stays = asyncio.create_task(executors.run_chore(made.append, 2))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
    await stays
    assert made == [2]

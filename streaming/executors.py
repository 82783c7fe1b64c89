"""Threads for database work away from the event loop, a pool for each kind of caller.

asgiref has one thread for all synchronous work outside a request; a slow query there would hold up
every socket. Threads keep their SQLite connection; a pooled PostgreSQL connection goes back when
nothing waits, so that the calls of a rush share its check.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")
Call = tuple[Future[Any], Callable[[], Any]]

# A thread gives its connection back after so many calls at the latest: others may wait for it.
MOST_CALLS = 50
THREADS = {"reads": 2, "consumers": 2, "generators": 2, "rendering": 1, "chores": 1}


_waiting: defaultdict[str, deque[Call]] = defaultdict(deque)


@cache
def _pool(kind: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS[kind], thread_name_prefix=f"streaming-{kind}")


def release_connections() -> None:
    """Give back what this thread's connections hold between two units of work."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue
        if connection.vendor == "sqlite" and not connection.errors_occurred:
            continue
        connection.close()


def _work(waiting: deque[Call]) -> None:
    """Answer the calls that wait, on one connection."""
    try:
        for _ in range(MOST_CALLS):
            try:
                future, function = waiting.popleft()
            except IndexError:
                return
            if future.set_running_or_notify_cancel():
                _answer(future, function)
    finally:
        release_connections()


def _answer(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:
        # The next call must not find a connection that is broken.
        release_connections()
        future.set_exception(error)
    else:
        future.set_result(result)


async def _run(kind: str, function: Callable[..., T], *args: object) -> T:
    future: Future[T] = Future()
    waiting = _waiting[kind]
    waiting.append((future, partial(function, *args)))
    # As many works as calls: one that finds nothing left is done at once.
    _pool(kind).submit(_work, waiting)
    return await asyncio.wrap_future(future)


async def run_read(function: Callable[..., T], *args: object) -> T:
    """Run a database function for a reader."""
    return await _run("reads", function, *args)


async def run_consumer(function: Callable[..., T], *args: object) -> T:
    """Run a database function for a socket: sessions and access."""
    return await _run("consumers", function, *args)


async def run_generator(function: Callable[..., T], *args: object) -> T:
    """Run a database function for a generator or the supervisor."""
    return await _run("generators", function, *args)


async def run_chore(function: Callable[..., T], *args: object) -> T:
    """Run a database function that nobody waits for."""
    return await _run("chores", function, *args)


async def run_rendering(function: Callable[..., T], *args: object) -> T:
    """Render a long block away from the event loop."""
    return await _run("rendering", function, *args)

"""Threads for database work away from the event loop, a pool for each kind of caller.

asgiref has one thread for all synchronous work outside a request; a slow query there would hold up
every socket. Threads keep their SQLite connection; a pooled PostgreSQL connection goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS = {"reads": 2, "consumers": 2, "generators": 2, "rendering": 1, "chores": 1}


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


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        release_connections()


async def _run(kind: str, function: Callable[..., T], *args: object) -> T:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool(kind), _call, function, *args)


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

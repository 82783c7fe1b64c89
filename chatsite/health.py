"""`/healthz` and `/readyz`, answered before Django: they wait for no request and no database.

Whoever asks by whatever name or address is answered (an orchestrator asks by IP, and the answer
holds nothing that a Host header could change). No session, no cookie, no log.

| path | 200 while |
|---|---|
| `/healthz` | the process lives: its event loop turns |
| `/readyz` | it should get requests: not draining, its database answers and its runner sweeps |

A Redis that is down is told and no more: without it everything works, a little later, and taking
all processes away for it would turn a delay into an outage.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings

from streaming.executors import release_connections
from streaming.hub import get_hub
from streaming.models import Stream
from streaming.supervisor import runner_state

CHECK_SECONDS = 2.0

# One thread: while a check hangs, no other begins.
_thread = ThreadPoolExecutor(1, thread_name_prefix="health")
_asked: asyncio.Future[None] | None = None
_is_leaving = False


def leave() -> None:
    """Be no longer ready, because this process is about to stop."""
    global _is_leaving
    _is_leaving = True


def with_health(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap an ASGI application for HTTP."""

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/healthz":
            await answer(scope, send, 200, {"server": "ok"})
        elif scope["path"] == "/readyz":
            found = await readiness()
            must_work = (found["server"], found["database"], found["runner"])
            is_ready = all(word in ("ok", "none") for word in must_work)
            await answer(scope, send, 200 if is_ready else 503, found)
        else:
            await application(scope, receive, send)

    return wrapped


async def readiness() -> dict[str, str]:
    """What this process needs, each `ok`, `down`, `draining` or `none` (not used here)."""
    database, redis = await asyncio.gather(database_state(), redis_state())
    server = "draining" if _is_leaving or get_hub().is_draining else "ok"
    return {"server": server, "database": database, "redis": redis, "runner": runner_state()}


async def database_state() -> str:
    """Whether the database answers a read; all who ask meanwhile share one question."""
    global _asked
    loop = asyncio.get_running_loop()
    if _asked is None or _asked.done() or _asked.get_loop() is not loop:
        _asked = loop.run_in_executor(_thread, _read)
        # An error that comes after everybody has stopped waiting is no news.
        _asked.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
    await asyncio.wait([_asked], timeout=CHECK_SECONDS)
    return "ok" if _asked.done() and _asked.exception() is None else "down"


def _read() -> None:
    try:
        Stream.objects.exists()
    finally:
        release_connections()


async def redis_state() -> str:
    """Whether Redis, if the settings name one, answers a ping."""
    if not settings.REDIS_URL:
        return "none"
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(settings.REDIS_URL, retry=None)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await client.ping()
    except (OSError, RedisError):
        return "down"
    else:
        return "ok"
    finally:
        await client.aclose()


async def answer(scope: dict[str, Any], send: Any, status: int, found: dict[str, str]) -> None:
    """Send `found` as JSON; 405 to anything but GET and HEAD."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    body = json.dumps(found).encode() + b"\n"
    if scope["method"] not in ("GET", "HEAD"):
        status, body = 405, b"{}\n"
        headers.append((b"allow", b"GET, HEAD"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

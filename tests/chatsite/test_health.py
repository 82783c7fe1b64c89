from __future__ import annotations

import json
from typing import Any

import pytest

from chatsite.asgi import application
from streaming.hub import get_hub
from tests.streaming.live import running_supervisor

pytestmark = pytest.mark.django_db(transaction=True)


async def ask(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body), asked by an address that is in no ALLOWED_HOSTS."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"10.9.8.7")]}
    await application(scope, None, send)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, body["body"]


async def test_health_is_that_the_process_answers() -> None:
    status, headers, body = await ask("/healthz")
    assert (status, json.loads(body)) == (200, {"server": "ok"})
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers


async def test_ready_names_each_part(settings) -> None:
    status, _, body = await ask("/readyz")
    assert status == 200
    assert json.loads(body) == {
        "server": "ok",
        "database": "ok",
        "redis": "none",
        "runner": "none",
    }


async def test_a_runner_that_drains_or_does_not_run_is_not_ready(settings) -> None:
    settings.STREAMING_RUNNER = "embedded"
    async with running_supervisor() as supervisor:
        status, _, body = await ask("/readyz")
        assert (status, json.loads(body)["runner"]) == (200, "ok")
        await supervisor.drain(0)
        status, _, body = await ask("/readyz")
        assert (status, json.loads(body)["runner"]) == (503, "draining")


async def test_a_draining_server_is_not_ready_and_still_healthy() -> None:
    get_hub().is_draining = True
    status, _, body = await ask("/readyz")
    assert (status, json.loads(body)["server"]) == (503, "draining")
    assert (await ask("/healthz"))[0] == 200


async def test_a_redis_that_is_away_is_told_and_takes_nothing_away(settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    status, _, body = await ask("/readyz")
    assert (status, json.loads(body)["redis"]) == (200, "down")


async def test_a_redis_that_answers_is_ok(settings, redis_url: str) -> None:
    settings.REDIS_URL = redis_url
    assert json.loads((await ask("/readyz"))[2])["redis"] == "ok"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_other_methods(path: str) -> None:
    status, headers, body = await ask(path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    status, headers, _ = await ask(path, "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")

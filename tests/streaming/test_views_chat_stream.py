"""POST and OPTIONS /chat-stream: the tutorial's contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponseBase
from django.test import AsyncClient

from streaming import access, actions, generators
from streaming.hub import get_hub
from streaming.models import Status, Stream

from .rows import end, write, write_nothing

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "https://friend.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
}


@pytest.fixture
def stream(owner: Any) -> Iterator[Stream]:
    generators.generator("tests.chat", may_read=generators.owner_only)(write_nothing)
    yield actions.create("tests.chat", owner=owner, autostart=False)
    generators._registry.pop("tests.chat", None)


@pytest_asyncio.fixture(autouse=True)
async def hub() -> AsyncIterator[None]:
    hub = get_hub()
    yield
    await hub.close()
    # The thread of `sync_to_async` outlives the test; PostgreSQL would not drop a database in use.
    await sync_to_async(connections.close_all)()


@pytest_asyncio.fixture
async def client(owner: Any) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(owner)
    return client


async def post(client: AsyncClient, stream_id: object, **headers: str) -> HttpResponseBase:
    return await client.post(
        "/chat-stream",
        {"streamId": str(stream_id)},
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def bearer(stream: Stream, user: Any) -> str:
    return f"Bearer {access.access_token(stream, user)}"


# --- The contract


async def test_the_first_gets_the_text_while_it_is_written(
    client: AsyncClient, stream: Stream
) -> None:
    response = await post(client, stream.pk)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    await stream.arefresh_from_db()
    assert stream.start_requested_at is not None
    body = aiter(response.streaming_content)
    # The headers go out before there is any text.
    assert await anext(body) == b""
    await sync_to_async(write)(stream, "Grüße ")
    get_hub().hint(stream.pk)
    assert await asyncio.wait_for(anext(body), 10) == "Grüße ".encode()
    await sync_to_async(write)(stream, "😀")
    await sync_to_async(end)(stream)
    get_hub().hint(stream.pk)
    assert b"".join([piece async for piece in body]) == "😀".encode()


async def test_of_many_at_once_one_gets_the_text_and_the_others_205(
    client: AsyncClient, stream: Stream
) -> None:
    answers = await asyncio.gather(*(post(client, stream.pk) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [205] * 7
    assert all(answer.content == b"" for answer in answers if answer.status_code == 205)


async def test_a_stream_that_runs_or_has_ended_is_205(
    client: AsyncClient, stream: Stream, owner: Any
) -> None:
    running = await sync_to_async(actions.create)("tests.chat", owner=owner)
    await sync_to_async(actions.stop)(stream)
    for one in (running, stream):
        assert (await post(client, one.pk)).status_code == 205


async def test_a_reader_that_goes_away_stops_nothing(client: AsyncClient, stream: Stream) -> None:
    response = await post(client, stream.pk)
    body = aiter(response.streaming_content)
    await sync_to_async(write)(stream, "text")
    await anext(body)
    assert await asyncio.wait_for(anext(body), 10) == b"text"
    await body.aclose()
    await stream.arefresh_from_db()
    assert stream.status == Status.STREAMING


async def test_a_stream_deleted_meanwhile_ends_the_body(
    client: AsyncClient, stream: Stream
) -> None:
    response = await post(client, stream.pk)
    await sync_to_async(actions.delete)(stream)
    assert b"".join([piece async for piece in response.streaming_content]) == b""


# --- Bad input


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"{}", b"null", b"\xff", b"[" * 100_000, b'{"streamid": "x"}'],
)
async def test_a_body_that_is_not_the_contracts_is_told_what_is(
    client: AsyncClient, body: bytes
) -> None:
    response = await client.post("/chat-stream", body, content_type="application/json")
    assert response.status_code == 400
    assert b"streamId" in response.content


@pytest.mark.parametrize("value", ["nonsense", "", 5, None, ["x"], {"a": 1}, "\ud800", "é" * 999])
async def test_a_malformed_id_is_an_unknown_stream(client: AsyncClient, value: object) -> None:
    response = await client.post(
        "/chat-stream", {"streamId": value}, content_type="application/json"
    )
    assert response.status_code == 404


async def test_a_foreign_and_an_unknown_stream_are_the_same(stream: Stream, stranger: Any) -> None:
    client = AsyncClient()
    await client.aforce_login(stranger)
    foreign, unknown = await post(client, stream.pk), await post(client, uuid4())
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content == unknown.content
    await stream.arefresh_from_db()
    assert stream.start_requested_at is None


async def test_other_methods_are_not_allowed(client: AsyncClient) -> None:
    for method in (client.get, client.put, client.delete, client.head):
        assert (await method("/chat-stream")).status_code == 405


# --- Who asks


async def test_a_session_needs_the_csrf_token(stream: Stream, owner: Any) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(owner)
    response = await post(client, stream.pk)
    assert response.status_code == 403
    await stream.arefresh_from_db()
    assert stream.start_requested_at is None

    client.cookies["csrftoken"] = "t" * 32
    assert (await post(client, stream.pk, X_CSRFToken="u" * 32)).status_code == 403
    assert (await post(client, stream.pk, X_CSRFToken="t" * 32)).status_code == 200


async def test_csrf_is_refused_before_the_stream_is_looked_up(owner: Any) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(owner)
    assert (await post(client, uuid4())).status_code == 403


async def test_a_token_needs_neither_session_nor_csrf(stream: Stream, owner: Any) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    response = await post(client, stream.pk, Authorization=bearer(stream, owner))
    assert response.status_code == 200


async def test_a_token_counts_and_not_the_session(
    client: AsyncClient, stream: Stream, stranger: Any
) -> None:
    response = await post(client, stream.pk, Authorization=bearer(stream, stranger))
    assert response.status_code == 404
    response = await post(client, stream.pk, Authorization="Bearer nonsense")
    assert response.status_code == 401
    await stream.arefresh_from_db()
    assert stream.start_requested_at is None


async def test_nobody_is_asked_for_a_token(stream: Stream) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    for stream_id in (stream.pk, uuid4(), "nonsense"):
        response = await post(client, stream_id)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


# --- CORS


async def test_no_origin_is_allowed_by_default() -> None:
    response = await AsyncClient().options("/chat-stream", headers=PREFLIGHT)
    assert (response.status_code, response.content) == (200, b"")
    assert not any(name.startswith("Access-Control") for name in response.headers)
    assert "Origin" in response.headers["Vary"]


async def test_a_preflight_of_an_allowed_origin(settings: Any) -> None:
    settings.STREAMING_CORS_ORIGINS = [ORIGIN]
    response = await AsyncClient().options("/chat-stream", headers=PREFLIGHT)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Methods"] == "POST"
    assert response.headers["Access-Control-Allow-Headers"] == "Content-Type, Digest, Authorization"
    assert response.headers["Access-Control-Max-Age"] == "86400"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize("missing", list(PREFLIGHT))
async def test_options_that_are_no_preflight_get_an_empty_200(settings: Any, missing: str) -> None:
    settings.STREAMING_CORS_ORIGINS = [ORIGIN]
    headers = {name: value for name, value in PREFLIGHT.items() if name != missing}
    response = await AsyncClient().options("/chat-stream", headers=headers)
    assert (response.status_code, response.content) == (200, b"")
    assert "Access-Control-Allow-Methods" not in response.headers


async def test_answers_and_refusals_carry_the_allowed_origin(
    stream: Stream, owner: Any, settings: Any
) -> None:
    settings.STREAMING_CORS_ORIGINS = [ORIGIN]
    for authorization in (bearer(stream, owner), "Bearer nonsense"):
        response = await post(AsyncClient(), stream.pk, Authorization=authorization, Origin=ORIGIN)
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in response.headers["Vary"]
        other = await post(
            AsyncClient(), stream.pk, Authorization=authorization, Origin=f"{ORIGIN}:8443"
        )
        assert "Access-Control-Allow-Origin" not in other.headers

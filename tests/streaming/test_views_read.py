"""GET, HEAD and OPTIONS /streams/<id>: the read protocol."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient

from streaming import access, actions, generators, reader
from streaming.hub import get_hub
from streaming.models import EndReason, Status, Stream

from .rows import end, write, write_nothing

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "Grüße 😀\nto 字\n"
ORIGIN = "https://friend.example"


def at(offset: int) -> str:
    return f"{offset:016d}"


@pytest.fixture
def stream(owner: Any) -> Iterator[Stream]:
    generators.generator("tests.read", may_read=generators.owner_only)(write_nothing)
    stream = actions.create("tests.read", owner=owner)
    write(stream, TEXT[:5], TEXT[5:])
    yield stream
    generators._registry.pop("tests.read", None)


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


def url(stream: Stream) -> str:
    return f"/streams/{stream.pk}"


async def get(client: AsyncClient, stream: Stream, **query: object) -> HttpResponse:
    return await client.get(url(stream), query)


# --- Catch-up


async def test_it_gives_what_is_stored_and_where_to_go_on(
    client: AsyncClient, stream: Stream
) -> None:
    response = await get(client, stream)
    assert response.status_code == 200
    assert response.content.decode() == TEXT
    headers = response.headers
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Stream-Next-Offset"] == at(len(TEXT))
    assert headers["Stream-Up-To-Date"] == "true"
    assert headers["Stream-Status"] == "streaming"
    assert "Stream-Closed" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "private" in headers["Cache-Control"]
    assert {"Cookie", "Authorization", "Origin"} <= set(headers["Vary"].split(", "))


async def test_every_offset_is_resumed_exactly(client: AsyncClient, stream: Stream) -> None:
    assert (await get(client, stream, offset="-1")).content.decode() == TEXT
    for offset in range(len(TEXT) + 1):
        response = await get(client, stream, offset=at(offset))
        assert response.content.decode() == TEXT[offset:]


async def test_now_is_the_tail_without_text(client: AsyncClient, stream: Stream) -> None:
    response = await get(client, stream, offset="now")
    assert response.content == b""
    assert response.headers["Stream-Next-Offset"] == at(len(TEXT))
    assert response.headers["Stream-Up-To-Date"] == "true"
    assert "no-store" in response.headers["Cache-Control"]
    assert "ETag" not in response.headers


async def test_a_long_text_comes_in_pages_of_at_least_64_kib(
    client: AsyncClient, owner: Any, stream: Stream
) -> None:
    long = await sync_to_async(actions.create)("tests.read", owner=owner)
    text = "0123456789\n" * 10_000
    await sync_to_async(write)(long, text)
    await sync_to_async(end)(long)
    pages, offset = [], "-1"
    while True:
        response = await get(client, long, offset=offset)
        pages.append(response.content.decode())
        offset = response.headers["Stream-Next-Offset"]
        assert ("Stream-Up-To-Date" in response.headers) == ("Stream-Closed" in response.headers)
        if "Stream-Closed" in response.headers:
            break
    assert "".join(pages) == text
    assert all(len(page.encode()) >= 65_536 for page in pages[:-1])


@pytest.mark.parametrize("status", [Status.DONE, Status.ERROR, Status.TIMEOUT, Status.STOPPED])
async def test_a_closed_stream_says_how_it_ended(
    client: AsyncClient, stream: Stream, status: Status
) -> None:
    await sync_to_async(end)(stream, status, EndReason.CUT)
    response = await get(client, stream)
    assert response.headers["Stream-Closed"] == "true"
    assert response.headers["Stream-Status"] == status
    assert response.headers["Stream-End-Reason"] == "cut"


async def test_a_closed_stream_gives_the_hash_of_its_whole_text(
    client: AsyncClient, stream: Stream
) -> None:
    assert "Stream-Sha256" not in (await get(client, stream)).headers
    await sync_to_async(actions.stop)(stream)
    wanted = hashlib.sha256(TEXT.encode()).hexdigest()
    assert (await get(client, stream, offset=at(5))).headers["Stream-Sha256"] == wanted
    assert (await get(client, stream, offset="now")).headers["Stream-Sha256"] == wanted


@pytest.mark.parametrize(
    "query",
    [
        "offset=",
        "offset=abc",
        "offset=5",
        "offset=-2",
        "offset=%2B000000000000005",
        "offset=٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠",
        f"offset={at(0)}&offset={at(1)}",
        "offset=-1&live=",
        "offset=-1&live=maybe",
        "offset=-1&live=sse&live=sse",
        "live=long-poll",
        "live=sse",
    ],
)
async def test_a_wrong_query_is_told_what_is_allowed(
    client: AsyncClient, stream: Stream, query: str
) -> None:
    response = await client.get(f"{url(stream)}?{query}")
    assert response.status_code == 400
    sentence = response.content.decode()
    assert "`offset`" in sentence or "`live`" in sentence


@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse"])
async def test_an_offset_beyond_the_tail_is_told_the_tail(
    client: AsyncClient, stream: Stream, live: str
) -> None:
    response = await client.get(f"{url(stream)}?offset={at(len(TEXT) + 1)}{live}")
    assert response.status_code == 400
    assert f"0 to {len(TEXT)}" in response.content.decode()


# --- Caching, HEAD, OPTIONS


async def test_a_known_text_is_not_sent_again(client: AsyncClient, stream: Stream) -> None:
    etag = (await get(client, stream)).headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get(url(stream), headers={"If-None-Match": known})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == etag
    changed = await client.get(url(stream), headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


async def test_the_etag_changes_with_text_and_with_the_end(
    client: AsyncClient, stream: Stream
) -> None:
    etags = [(await get(client, stream)).headers["ETag"]]
    await sync_to_async(write)(stream, "more")
    etags.append((await get(client, stream)).headers["ETag"])
    await sync_to_async(end)(stream)
    etags.append((await get(client, stream)).headers["ETag"])
    assert len(set(etags)) == 3


async def test_head_tells_the_tail_only(client: AsyncClient, stream: Stream) -> None:
    await sync_to_async(end)(stream)
    response = await client.head(url(stream))
    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["Stream-Next-Offset"] == at(len(TEXT))
    assert response.headers["Stream-Closed"] == "true"
    assert "no-store" in response.headers["Cache-Control"]


async def test_it_is_read_only(client: AsyncClient, stream: Stream) -> None:
    for method in (client.post, client.put, client.patch, client.delete):
        response = await method(url(stream))
        assert response.status_code == 405
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_a_preflight_of_an_allowed_origin_names_the_headers(
    stream: Stream, settings: Any
) -> None:
    settings.STREAMING_CORS_ORIGINS = [ORIGIN]
    response = await AsyncClient().options(
        url(stream),
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "If-None-Match" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


async def test_an_allowed_origin_reads_with_a_token_and_sees_the_headers(
    stream: Stream, owner: Any, settings: Any
) -> None:
    settings.STREAMING_CORS_ORIGINS = [ORIGIN]
    headers = {"Authorization": f"Bearer {access.access_token(stream, owner)}", "Origin": ORIGIN}
    response = await AsyncClient().get(url(stream), headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Stream-Next-Offset" in response.headers["Access-Control-Expose-Headers"]


# --- Access


async def test_a_foreign_an_unknown_and_a_malformed_stream_are_the_same(
    stream: Stream, stranger: Any
) -> None:
    client = AsyncClient()
    await client.aforce_login(stranger)
    answers = [
        await client.get(f"/streams/{pk}?offset=wrong")
        for pk in (stream.pk, uuid4(), "nonsense", stream.pk.hex, str(stream.pk).upper())
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    for answer in answers:
        # It carries a nonce.
        del answer.headers["Content-Security-Policy"]
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


async def test_an_id_has_one_spelling(client: AsyncClient, stream: Stream) -> None:
    for spelling in (stream.pk.hex, str(stream.pk).upper(), f"urn:uuid:{stream.pk}"):
        assert (await client.get(f"/streams/{spelling}")).status_code == 404


async def test_nobody_is_asked_to_sign_in_whatever_the_stream(stream: Stream) -> None:
    for pk in (stream.pk, uuid4(), "nonsense"):
        response = await AsyncClient().get(f"/streams/{pk}")
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_wrong_token_is_not_helped_by_a_session(
    client: AsyncClient, stream: Stream, owner: Any, stranger: Any
) -> None:
    other = await sync_to_async(actions.create)("tests.read", owner=owner)
    for token in ("wrong", access.access_token(other, owner)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await client.get(url(stream), headers=headers)).status_code == 401
    headers = {"Authorization": f"Bearer {access.access_token(stream, stranger)}"}
    assert (await client.get(url(stream), headers=headers)).status_code == 404


async def test_a_busy_database_is_a_503_to_try_again(client: AsyncClient, stream: Stream) -> None:
    def meets_a_lock(user: Any, stream: Stream) -> bool:
        raise OperationalError("database is locked: secret")

    generators.generator("tests.read", may_read=meets_a_lock)(write_nothing)
    response = await get(client, stream)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert b"secret" not in response.content


# --- Long-poll


async def test_a_long_poll_gives_stored_text_at_once(client: AsyncClient, stream: Stream) -> None:
    response = await get(client, stream, offset="-1", live="long-poll")
    assert response.content.decode() == TEXT
    assert response.headers["Stream-Cursor"].isdigit()


async def test_a_long_poll_waits_for_text(client: AsyncClient, stream: Stream) -> None:
    polling = asyncio.create_task(get(client, stream, offset="now", live="long-poll"))
    await subscribed(stream)
    await sync_to_async(write)(stream, "new")
    get_hub().hint(stream.pk)
    response = await asyncio.wait_for(polling, 10)
    assert (response.status_code, response.content) == (200, b"new")
    assert response.headers["Stream-Next-Offset"] == at(len(TEXT) + 3)


async def test_a_long_poll_without_text_times_out(
    client: AsyncClient, stream: Stream, settings: Any
) -> None:
    settings.STREAMING_LONG_POLL_SECONDS = 0.1
    response = await get(client, stream, offset=at(len(TEXT)), live="long-poll", cursor="9" * 15)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Stream-Next-Offset"] == at(len(TEXT))
    assert response.headers["Stream-Up-To-Date"] == "true"
    assert int(response.headers["Stream-Cursor"]) > int("9" * 15)
    assert "Stream-Closed" not in response.headers


async def test_a_long_poll_at_the_end_returns_at_once(client: AsyncClient, stream: Stream) -> None:
    await sync_to_async(end)(stream)
    response = await asyncio.wait_for(
        get(client, stream, offset=at(len(TEXT)), live="long-poll"), 10
    )
    assert response.status_code == 204
    assert response.headers["Stream-Closed"] == "true"


async def test_an_end_wakes_a_long_poll(client: AsyncClient, stream: Stream) -> None:
    polling = asyncio.create_task(get(client, stream, offset="now", live="long-poll"))
    await subscribed(stream)
    await sync_to_async(end)(stream, Status.STOPPED, EndReason.USER)
    get_hub().hint(stream.pk)
    response = await asyncio.wait_for(polling, 10)
    assert response.status_code == 204
    assert response.headers["Stream-Status"] == "stopped"


# --- A resumed text


@pytest.mark.parametrize("live", ["", "sse", "long-poll"])
async def test_a_resumed_text_goes_on_under_its_new_id_alone(
    client: AsyncClient, stream: Stream, live: str
) -> None:
    await sync_to_async(actions.stop)(stream)
    fresh = await sync_to_async(actions.resume)(stream)
    query = {"offset": at(5)} | ({"live": live} if live else {})
    assert (await get(client, stream, **query)).status_code == 404
    response = await get(client, fresh, **query)
    assert response.status_code == 200
    if live == "sse":
        assert f"data: {TEXT[5:].splitlines()[0]}\n".encode() in await anext(
            aiter(response.streaming_content)
        )
        await response.streaming_content.aclose()
    else:
        assert response.content.decode() == TEXT[5:]


async def test_a_reader_meets_the_move_of_a_text_without_a_wrong_end(
    client: AsyncClient, stream: Stream
) -> None:
    """It reads the ended row, and then no chunks: they are the new stream's already."""
    await sync_to_async(actions.stop)(stream)
    row = await Stream.objects.aget(pk=stream.pk)
    await sync_to_async(actions.resume)(stream)
    await row.asave(force_insert=True)
    response = await get(client, stream)
    assert (response.status_code, response.content) == (200, b"")
    assert "Stream-Closed" not in response.headers
    assert "Stream-Up-To-Date" not in response.headers
    assert response.headers["Stream-Next-Offset"] == at(0)


# --- Server-sent events


async def test_sse_gives_stored_text_then_live_text_then_the_end(
    client: AsyncClient, stream: Stream
) -> None:
    response = await get(client, stream, offset="-1", live="sse")
    assert response.headers["Content-Type"] == "text/event-stream"
    events = Events(response)
    assert await events.next("data") == TEXT
    control = json.loads(await events.next("control"))
    assert control["streamNextOffset"] == at(len(TEXT))
    assert control["upToDate"] is True
    assert control["streamCursor"].isdigit()
    await sync_to_async(write)(stream, " indented\n\n  twice")
    get_hub().hint(stream.pk)
    assert await events.next("data") == " indented\n\n  twice"
    await events.next("control")
    await sync_to_async(end)(stream, Status.ERROR, EndReason.CUT)
    get_hub().hint(stream.pk)
    control = json.loads(await events.next("control"))
    assert control["streamClosed"] is True
    assert (control["status"], control["endReason"]) == ("error", "cut")
    assert "streamCursor" not in control
    assert await events.rest() == b""


async def test_sse_from_now_begins_with_the_tail(client: AsyncClient, stream: Stream) -> None:
    events = Events(await get(client, stream, offset="now", live="sse"))
    control = json.loads(await events.next("control"))
    assert control["streamNextOffset"] == at(len(TEXT))
    assert control["upToDate"] is True
    await events.close()


async def test_sse_ends_at_its_size_and_is_resumed_by_offset(
    client: AsyncClient, stream: Stream, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.read, "__kwdefaults__", {"at_most": 4})
    settings.STREAMING_HTTP_LIVE_BYTES = 8
    await sync_to_async(end)(stream)
    text, offset, answers = "", "-1", 0
    while True:
        events = Events(await get(client, stream, offset=offset, live="sse"))
        text += await events.next("data")
        control = json.loads(await events.next("control"))
        assert await events.rest() == b""
        answers += 1
        if control.get("streamClosed"):
            break
        offset = control["streamNextOffset"]
    assert text == TEXT
    assert answers == -(-len(TEXT) // 4)


async def test_sse_ends_after_its_time(client: AsyncClient, stream: Stream, settings: Any) -> None:
    settings.STREAMING_HTTP_LIVE_SECONDS = 0.1
    events = Events(await get(client, stream, offset="now", live="sse"))
    await events.next("control")
    rest = await asyncio.wait_for(events.rest(), 10)
    assert b"event:" not in rest


async def test_sse_ends_when_the_database_fails_and_is_resumed_by_offset(
    client: AsyncClient, stream: Stream
) -> None:
    events = Events(await get(client, stream, offset="-1", live="sse"))
    assert await events.next("data") == TEXT
    offset = json.loads(await events.next("control"))["streamNextOffset"]
    await sync_to_async(rename_table)("streaming_stream", "streaming_away")
    try:
        get_hub().hint(stream.pk)
        # An error here would leave the connection open: the answer has begun.
        assert await events.rest() == b""
    finally:
        await sync_to_async(rename_table)("streaming_away", "streaming_stream")
    await sync_to_async(write)(stream, "new")
    events = Events(await get(client, stream, offset=offset, live="sse"))
    assert await events.next("data") == "new"
    await events.close()


def rename_table(name: str, other: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {other}")


class Events:
    """Parses an answer as WHATWG HTML, 9.2.6 says."""

    def __init__(self, response: StreamingHttpResponse) -> None:
        self._pieces = aiter(response.streaming_content)
        self._read = b""

    async def next(self, kind: str) -> str:
        """The data of the next event, which must be of this kind."""
        while b"\n\n" not in self._read:
            self._read += await asyncio.wait_for(anext(self._pieces), 10)
        event, self._read = self._read.split(b"\n\n", 1)
        name, *lines = event.decode().split("\n")
        assert name == f"event: {kind}"
        return "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines)

    async def rest(self) -> bytes:
        return self._read + b"".join([piece async for piece in self._pieces])

    async def close(self) -> None:
        await self._pieces.aclose()


async def subscribed(stream: Stream) -> None:
    """Until a reader waits for this stream, and has read what is stored."""
    async with asyncio.timeout(10):
        while stream.pk not in get_hub()._subscriptions:
            await asyncio.sleep(0)

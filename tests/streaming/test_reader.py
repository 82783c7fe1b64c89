from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from uuid import UUID

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streaming import actions, generators, reader
from streaming.exceptions import BadOffset
from streaming.hub import get_hub
from streaming.models import Chunk, EndReason, Status, Stream
from streaming.reader import Batch, follow, read, text_of

from .rows import end, write, write_nothing

TEXTS = ["Grüße ", "😀", " to\n", "字字字", "."]
WHOLE = "".join(TEXTS)


@pytest.fixture
def stream(db: None) -> Iterator[Stream]:
    generators.generator("tests.reader")(write_nothing)
    yield actions.create("tests.reader", autostart=False)
    generators._registry.pop("tests.reader", None)


# --- Stored text


def test_the_text_is_all_chunks_in_order(stream: Stream) -> None:
    assert text_of(stream) == ""
    write(stream, *TEXTS)
    assert text_of(stream) == WHOLE


def test_a_pending_stream_reads_as_nothing_yet(stream: Stream) -> None:
    assert read(stream.pk, 0) == Batch(0, "", 0, False, Status.PENDING, "")


def test_every_offset_is_resumed_exactly_with_every_size(stream: Stream) -> None:
    write(stream, *TEXTS)
    end(stream)
    for offset in range(len(WHOLE) + 1):
        for at_most in (1, 2, 5, len(WHOLE), 100):
            batch = read(stream.pk, offset, at_most=at_most)
            assert batch.text == WHOLE[offset : offset + at_most]
            assert (batch.start, batch.end) == (offset, offset + len(batch.text))
            assert batch.closed == (batch.end == len(WHOLE))
            assert batch.more != batch.closed


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text(min_size=1, max_size=9), max_size=9),
    at_most=st.integers(min_value=1, max_value=12),
)
def test_page_by_page_gives_the_whole_once(stream: Stream, texts: list[str], at_most: int) -> None:
    texts = [text.encode(errors="replace").decode().replace("\0", "0") for text in texts]
    Chunk.objects.all().delete()
    Stream.objects.filter(pk=stream.pk).update(length=0)
    write(stream, *texts)
    pieces = []
    batch = read(stream.pk, 0, at_most=at_most)
    while batch.text:
        pieces.append(batch.text)
        batch = read(stream.pk, batch.end, at_most=at_most)
    assert "".join(pieces) == "".join(texts)


def test_the_end_is_told_only_with_the_last_character(stream: Stream) -> None:
    write(stream, *TEXTS)
    end(stream, Status.STOPPED, EndReason.USER)
    first = read(stream.pk, 0, at_most=len(WHOLE) - 1)
    assert (first.closed, first.status, first.reason) == (False, Status.STREAMING, "")
    last = read(stream.pk, first.end)
    assert (last.closed, last.status, last.reason) == (True, Status.STOPPED, EndReason.USER)
    tail = read(stream.pk, len(WHOLE))
    assert (tail.text, tail.closed) == ("", True)


def test_text_committed_after_the_row_was_read_may_come_along(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(stream, "one ")
    text_from = reader.text_from

    def late(stream_id: UUID, offset: int, at_most: int) -> str:
        write(stream, "two")
        end(stream)
        return text_from(stream_id, offset, at_most)

    monkeypatch.setattr(reader, "text_from", late)
    batch = read(stream.pk, 0)
    assert (batch.text, batch.end) == ("one two", 7)
    # The row was read while the stream was open: its end is told by the next read.
    assert not batch.closed
    assert read(stream.pk, 7).closed


@pytest.mark.parametrize("offset", [-1, 6, 10**9])
def test_an_offset_beyond_the_text_is_refused_with_what_is_allowed(
    stream: Stream, offset: int
) -> None:
    write(stream, "12345")
    with pytest.raises(BadOffset, match="0 to 5"):
        read(stream.pk, offset)


def test_an_unknown_stream_is_no_stream(db: None) -> None:
    with pytest.raises(Stream.DoesNotExist):
        read(UUID(int=1), 0)


def test_a_stream_that_is_being_deleted_gives_no_wrong_text(stream: Stream) -> None:
    write(stream, *TEXTS)
    end(stream)
    Chunk.objects.filter(stream=stream, text="😀").delete()
    assert read(stream.pk, 0).text == TEXTS[0]
    Chunk.objects.filter(stream=stream, start=0).delete()
    batch = read(stream.pk, 0)
    assert (batch.text, batch.closed) == ("", False)


def test_reading_a_page_takes_two_queries_and_the_tail_one(
    stream: Stream, django_assert_num_queries
) -> None:
    write(stream, *TEXTS)
    with django_assert_num_queries(2):
        read(stream.pk, 3)
    with django_assert_num_queries(1):
        read(stream.pk, len(WHOLE))


# --- Live text


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[None]:
    hub = get_hub()
    yield
    await hub.close()
    # The thread of `sync_to_async` outlives the test; PostgreSQL would not drop a database in use.
    await sync_to_async(connections.close_all)()


async def collect(stream: Stream, offset: int = 0) -> list[Batch]:
    return [batch async for batch in follow(stream.pk, offset)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hub")
class TestFollow:
    async def test_an_ended_stream_comes_in_one_last_batch(self, stream: Stream) -> None:
        await sync_to_async(write)(stream, *TEXTS)
        await sync_to_async(end)(stream)
        (batch,) = await collect(stream, 3)
        assert (batch.text, batch.closed) == (WHOLE[3:], True)

    async def test_what_is_written_meanwhile_arrives_in_order(self, stream: Stream) -> None:
        await sync_to_async(write)(stream, "stored ")
        following = asyncio.create_task(collect(stream))
        for text in ("live ", "and ", "more"):
            await sync_to_async(write)(stream, text)
            get_hub().hint(stream.pk)
        await sync_to_async(end)(stream)
        get_hub().hint(stream.pk)
        batches = await asyncio.wait_for(following, 10)
        assert "".join(batch.text for batch in batches) == "stored live and more"
        assert [batch.closed for batch in batches].count(True) == 1
        assert batches[-1].closed
        assert all(one.end == after.start for one, after in pairwise(batches))

    async def test_a_long_text_comes_in_pages_without_a_wait(
        self, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader, "RECHECK_SECONDS", 1_000)
        # Nothing wakes the reader.
        monkeypatch.setattr(get_hub(), "writes_here", lambda stream_id: True)
        await sync_to_async(write)(stream, "a" * reader.READ_AT_MOST, "b")
        await sync_to_async(end)(stream)
        batches = await asyncio.wait_for(collect(stream), 10)
        assert [len(batch.text) for batch in batches] == [reader.READ_AT_MOST, 1]

    async def test_a_lost_hint_is_a_delay_only(
        self, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader, "RECHECK_SECONDS", 0.05)
        # Nothing wakes the reader: not the writer, nor the hub's own polling.
        monkeypatch.setattr(get_hub(), "writes_here", lambda stream_id: True)
        following = asyncio.create_task(collect(stream))
        await sync_to_async(write)(stream, "quiet")
        await sync_to_async(end)(stream)
        batches = await asyncio.wait_for(following, 10)
        assert "".join(batch.text for batch in batches) == "quiet"

    async def test_a_deleted_stream_ends_its_readers(self, stream: Stream) -> None:
        await sync_to_async(write)(stream, "text")
        following = asyncio.create_task(collect(stream))
        await sync_to_async(Stream.objects.all().delete)()
        get_hub().hint(stream.pk)
        with pytest.raises(Stream.DoesNotExist):
            await asyncio.wait_for(following, 10)

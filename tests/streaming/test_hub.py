from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import BaseChannelLayer, channel_layers
from django.db import connections

from streaming import actions, generators, topics
from streaming.appending import Append
from streaming.doorbell import MAX_TEXT_CHARS, MAX_TEXT_CHARS_OF_ONE, _message
from streaming.frames import Frame
from streaming.hub import Hub, get_hub

from .live import until
from .logs import stream_with
from .rows import write, write_nothing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    generators.generator("tests.hub")(write_nothing)
    hub = get_hub()
    yield hub
    await hub.close()
    generators._registry.pop("tests.hub")
    await sync_to_async(connections.close_all)()


async def test_polling_wakes_a_reader_only_when_its_stream_changed(hub: Hub) -> None:
    stream = await sync_to_async(actions.create)("tests.hub", autostart=False)
    async with hub.subscribe(stream.pk) as subscription:
        await hub._poll_streams()
        assert await subscription.changed(1)
        await hub._poll_streams()
        assert not await subscription.changed(0.01)
        await sync_to_async(write)(stream, "text")
        await hub._poll_streams()
        assert await subscription.changed(1)
        await sync_to_async(stream.__class__.objects.all().delete)()
        await hub._poll_streams()
        assert await subscription.changed(1)


async def test_polling_reads_no_text_that_a_doorbell_brought_meanwhile(hub: Hub) -> None:
    stream = await sync_to_async(actions.create)("tests.hub", autostart=False)
    tail = hub.tail(stream.pk)
    await until(lambda: not tail._loading)
    await sync_to_async(write)(stream, "text")
    poll = asyncio.create_task(hub._poll_streams())
    await asyncio.sleep(0)
    hub.doorbell._hear(rung(Append(stream.pk, 1, 0, "text")))
    await poll
    assert tail.length == 4
    assert not tail._loading
    await sync_to_async(write)(stream, " and more")
    await hub._poll_streams()
    assert tail._loading


class Reader:
    """A page in step that takes everything."""

    cut, end, key, in_step = -1, 0, "", False

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def room(self) -> int:
        return 1_000_000

    def push(self, frame: Frame) -> None:
        self.frames.append(frame)

    def gone(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(("pages", "frames"), [(10, 4), (2_000, 3)])
async def test_frames_come_less_often_where_pages_are_many(
    hub: Hub, pages: int, frames: int
) -> None:
    stream = await sync_to_async(actions.create)("tests.hub", autostart=False)
    tail = hub.tail(stream.pk)
    readers = [Reader() for _ in range(pages)]
    for reader in readers:
        tail.join(reader)
    await until(lambda: not tail._loading)
    words = ["one\n", "two\n", "three\n"]
    for number, word in enumerate(words):
        tail.extend(len("".join(words[:number])), word)
    await until(lambda: all(reader.end == len("".join(words)) for reader in readers))
    # The first brings each page in step; nothing of the text is left out.
    assert {len(reader.frames) for reader in readers} == {frames}
    told = "".join(frame.html for frame in readers[0].frames)
    assert [word for word in words if word not in told] == []
    for reader in readers:
        tail.leave(reader)
    assert hub.follower_count == 0


class Watcher:
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def topic_changed(self, topic: str, version: int) -> None:
        self.told.append((topic, version))


async def test_polling_outlives_a_topic_that_fails(settings, hub: Hub) -> None:
    settings.STREAMING_POLL_SECONDS = settings.STREAMING_POLL_SECONDS_WITHOUT_LAYER = 0.01
    calls: list[object] = []

    def versions(keys: list[str]) -> dict[str, int]:
        calls.append(keys)
        if len(calls) == 1:
            raise ValueError("not this time")
        return dict.fromkeys(keys, 2)

    topics.topic("tests.fails", may_watch=lambda user, key: True, versions=versions)
    watcher = Watcher()
    try:
        hub.watch("tests.fails:1", 1, watcher)
        await until(lambda: watcher.told)
    finally:
        hub.unwatch("tests.fails:1", watcher)
        topics._registry.pop("tests.fails")
    assert watcher.told == [("tests.fails:1", 2)]
    assert len(calls) > 1


async def test_a_doorbell_of_another_release_is_passed_over(hub: Hub) -> None:
    hub.doorbell._hear({"origin": "another", "rings": 3})
    watcher = Watcher()
    hub.watch("tests:1", 1, watcher)
    message = {"origin": "another", "appends": [], "hints": {}, "topics": {"tests:1": 2}}
    hub.doorbell._hear(message)
    await asyncio.sleep(0)
    assert watcher.told == [("tests:1", 2)]


def rung(*appends: Append) -> dict[str, Any]:
    return _message("another", appends, {}, {})


async def test_a_doorbell_brings_as_much_text_as_fits_and_positions_of_the_rest(hub: Hub) -> None:
    first, large, last = (uuid.uuid4() for _ in range(3))
    message = rung(
        Append(first, 1, 0, "a"),
        Append(large, 1, 5, "b" * (MAX_TEXT_CHARS_OF_ONE + 1)),
        Append(last, 1, 9, "c"),
    )
    assert message["appends"] == [(str(first), 0, "a"), (str(large), 5, ""), (str(last), 9, "c")]
    text = "d" * MAX_TEXT_CHARS_OF_ONE
    fitting = MAX_TEXT_CHARS // len(text)
    message = rung(*[Append(first, 1, n * len(text), text) for n in range(fitting + 1)])
    assert [told for *_, told in message["appends"]] == [text] * fitting + [""]


class SlowLayer(BaseChannelLayer):
    """A shared layer that takes its time to send, and brings nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)
        self.sent.append(message)

    async def group_add(self, group: str, channel: str) -> None:
        pass

    async def new_channel(self, prefix: str = "") -> str:
        return "slow"

    async def receive(self, channel: str) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_what_was_rung_has_left_when_the_doorbell_is_settled() -> None:
    layer = SlowLayer()
    before = channel_layers.set("default", layer)
    try:
        hub = Hub(asyncio.get_running_loop())
        ended, late = uuid.uuid4(), uuid.uuid4()
        hub.doorbell.hinted(ended, {})
        await asyncio.sleep(0.01)
        # While the first is on its way.
        hub.doorbell.hinted(late, {})
        await hub.doorbell.settle()
        # As at the end of a process: whatever has not left by now never will.
        await hub.close()
    finally:
        channel_layers.set("default", before)
    assert [message["hints"] for message in layer.sent] == [{str(ended): {}}, {str(late): {}}]


async def test_a_reader_is_given_what_follows_and_looks_at_a_gap(hub: Hub) -> None:
    stream = await sync_to_async(stream_with)("0123456789")
    async with hub.subscribe(stream.pk) as subscription:
        assert (await subscription.batch(4)).text == "456789"
        hub.extend(stream.pk, 8, "89ab")
        hub.extend(stream.pk, 12, "cd")
        # Not stored: this came from the hub alone, and what was known is trimmed.
        assert (await subscription.batch(10)).text == "abcd"
        hub.extend(stream.pk, 20, "behind a gap")
        assert (await subscription.batch(5)).text == "56789"
        hub.extend(stream.pk, 10, "x")
        hub.hint(stream.pk)
        assert (await subscription.batch(10)).text == ""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import logout
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import HttpRequest
from django.template import Context, Template
from django.utils import timezone
from django.utils.translation import gettext_lazy

from streaming import actions, claims, generators, supervisor, tails, topics
from streaming.consumers import RESTARTING
from streaming.doorbell import _message
from streaming.exceptions import StreamFailed
from streaming.generators import owner_only
from streaming.hub import get_hub
from streaming.models import EndReason, Status, Stream
from streaming.rendering import PlainText, PlainTextDocument
from streaming.security import session_key

from .live import Tap, ended, running_supervisor, tap, text, until
from .pages import Page
from .rows import end, write

pytestmark = pytest.mark.django_db(transaction=True)

create = sync_to_async(actions.create)
stop = sync_to_async(actions.stop)
plain = PlainText()


@pytest.fixture
async def generator() -> AsyncIterator[Tap]:
    async with tap(may_read=owner_only) as made, running_supervisor():
        yield made


async def committed(stream: Stream, body: str) -> None:
    async def stands() -> bool:
        return await text(stream) == body

    await until(stands)


async def test_text_arrives_and_ends(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("Hello ")
    await page.until_end_is(6)
    generator.say("<world>", None)
    header = await page.until("end")
    assert header["status"] == Status.DONE
    assert page.html(stream.pk) == plain.render("Hello <world>")
    assert "Complete." in header["html"]
    await page.close()


async def test_a_page_that_comes_late_gets_what_is_stored_in_one_piece(
    generator: Tap, owner
) -> None:
    stream = await create("tests.tap", owner=owner)
    generator.say("a\n", "b\n", "c")
    await committed(stream, "a\nb\nc")
    page = await Page.open(owner)
    await page.follow(stream.pk)
    header = await page.frame()
    assert (header["t"], header["full"], header["end"]) == ("frame", True, 5)
    assert page.html(stream.pk) == plain.render("a\nb\nc")
    await page.close()


async def test_a_page_with_a_cursor_gets_only_what_follows_it(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    generator.say("a\n", "b\n", "c")
    await committed(stream, "a\nb\nc")
    page = await Page.open(owner)
    page.body[str(stream.pk)] = (plain.render("a\n"), "")
    await page.follow(stream.pk, cut=2, key=plain.version)
    header = await page.frame()
    assert not header["full"]
    assert page.html(stream.pk) == plain.render("a\nb\nc")
    await page.close()


@pytest.mark.parametrize("cursor", [{"cut": 1, "key": "plain-1"}, {"cut": 2, "key": "other"}])
async def test_a_cursor_that_fits_nowhere_gets_the_whole_body(
    generator: Tap, owner, cursor
) -> None:
    stream = await create("tests.tap", owner=owner)
    generator.say("a\nb\n")
    await committed(stream, "a\nb\n")
    page = await Page.open(owner)
    await page.follow(stream.pk, **cursor)
    assert (await page.frame())["full"]
    assert page.html(stream.pk) == plain.render("a\nb\n")
    await page.close()


async def test_two_pages_stay_in_step(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    first = await Page.open(owner)
    await first.follow(stream.pk)
    generator.say("one\n")
    await first.until_end_is(4)
    second = await Page.open(owner)
    await second.follow(stream.pk)
    generator.say("two\n", "three", None)
    await first.until("end")
    await second.until("end")
    assert first.html(stream.pk) == second.html(stream.pk) == plain.render("one\ntwo\nthree")
    await first.close()
    await second.close()


async def test_an_ended_stream_is_told_at_once(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    generator.say("all", None)
    await ended(stream)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    assert (await page.until("end"))["status"] == Status.DONE
    assert page.html(stream.pk) == plain.render("all")
    await page.close()


async def test_a_stop_reaches_the_page(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("kept")
    await page.until_end_is(4)
    await sync_to_async(actions.stop)(stream)
    assert (await page.until("end"))["status"] == Status.STOPPED
    assert page.html(stream.pk) == plain.render("kept")
    await page.close()


async def test_text_of_another_process_is_found_by_polling(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner, autostart=False)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    await sync_to_async(write)(stream, "from ", "elsewhere")
    await page.until_end_is(14)
    await sync_to_async(end)(stream)
    await page.until("end")
    assert page.html(stream.pk) == plain.render("from elsewhere")
    await page.close()


async def test_an_end_elsewhere_brings_its_topics_by_the_doorbell(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner, autostart=False)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    await sync_to_async(write)(stream, "text")
    await page.until_end_is(4)
    # Before the end is stored, so that no poll finds it first.
    rung = _message("another", [], {stream.pk: {"user:1": 7}}, {})
    get_hub().doorbell._hear(rung)
    await sync_to_async(end)(stream)
    assert (await page.until("end"))["topics"] == {"user:1": 7}
    await page.close()


NOTE = "Resumed after an interruption."


def take_over(stream: Stream) -> None:
    """Do as another process that claims what a dead one wrote, and writes nothing yet."""
    epoch, beat = Stream.objects.values_list("epoch", "beat").get(pk=stream.pk)
    assert claims.claim_abandoned(stream.pk, epoch, beat)


async def test_a_take_over_in_another_process_is_told_to_every_page_once(owner) -> None:
    """No server of this process writes; that nothing is rung is what it must bear."""
    async with tap(may_read=owner_only):
        stream = await create("tests.tap", owner=owner, autostart=False)
        await sync_to_async(write)(stream, "one\n", "two")
        pages = [await Page.open(owner) for _ in range(2)]
        for page in pages:
            await page.follow(stream.pk)
            assert NOTE not in (await page.until_end_is(7))["html"]
        await sync_to_async(take_over)(stream)
        for page in pages:
            header = await page.until_end_is(7)
            assert NOTE in header["html"]
            assert not header["full"]
            assert page.html(stream.pk) == plain.render("one\ntwo")
        late = await Page.open(owner)
        await late.follow(stream.pk)
        assert NOTE in (await late.until_end_is(7))["html"]
        await sync_to_async(Stream.objects.filter(pk=stream.pk).update)(length=8)
        await stream.chunks.acreate(start=7, text="!", epoch=2, created_at=timezone.now())
        for page in (*pages, late):
            # Not again with each text.
            assert NOTE not in (await page.until_end_is(8))["html"]
        await sync_to_async(end)(stream)
        for page in (*pages, late):
            header = await page.until("end")
            assert f"stream-{stream.pk}-foot" in header["html"]
            assert NOTE in header["html"]
            await page.close()
        await get_hub().close()


async def test_a_page_of_the_process_that_takes_over_is_told_before_new_text(
    settings, generator: Tap, owner
) -> None:
    settings.STREAMING_POLL_SECONDS_WITHOUT_LAYER = 60
    generators.generator("tests.carries", may_read=owner_only, carries_on=True)(generator)
    stream = await create("tests.carries", owner=owner, autostart=False)
    await sync_to_async(write)(stream, "one")
    page = await Page.open(owner)
    await page.follow(stream.pk)
    await page.until_end_is(3)
    await sync_to_async(Stream.objects.filter(pk=stream.pk).update)(beat=claims.RELEASED)
    await supervisor.of_this_process().sweep_once()
    assert NOTE in (await page.until_end_is(3))["html"]
    generator.say(" two", None)
    await page.until("end")
    assert page.html(stream.pk) == plain.render("one two")
    await page.close()


async def test_a_take_over_that_could_only_end_it_leaves_no_note(owner) -> None:
    async with tap(may_read=owner_only):
        stream = await create("tests.tap", owner=owner, autostart=False)
        await sync_to_async(write)(stream, "one")
        page = await Page.open(owner)
        await page.follow(stream.pk)
        await page.until_end_is(3)
        await sync_to_async(take_over)(stream)
        # The poll met it between the claim and the end.
        assert NOTE in (await page.until_end_is(3))["html"]
        await sync_to_async(actions.end_stream)(stream.pk, Status.TIMEOUT, EndReason.LOST)
        html = (await page.until("end"))["html"]
        assert f'<div hx-swap-oob="innerHTML:#stream-{stream.pk}-note"></div>' in html
        await page.close()
        await get_hub().close()


async def test_the_tag_shows_a_take_over_also_after_the_end(owner) -> None:
    async with tap(may_read=owner_only):
        stream = await create("tests.tap", owner=owner, autostart=False)
        template = Template("{% load streaming %}{% stream stream %}")

        @sync_to_async
        def drawn() -> str:
            return template.render(Context({"stream": Stream.objects.get(pk=stream.pk)}))

        await sync_to_async(write)(stream, "one")
        assert f'id="stream-{stream.pk}-note"' in await drawn()
        assert NOTE not in await drawn()
        await sync_to_async(take_over)(stream)
        assert NOTE in await drawn()
        await sync_to_async(end)(stream)
        assert NOTE in await drawn()


async def test_a_gap_reads_the_database(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("0123456789")
    await page.until_end_is(10)
    # A doorbell of what was told before, then one whose predecessor was lost.
    get_hub().extend(stream.pk, 4, "456789")
    get_hub().extend(stream.pk, 8, "8")
    generator.say("abc")
    await committed(stream, "0123456789abc")
    get_hub().extend(stream.pk, 99, "from the future")
    generator.say("d", None)
    await page.until("end")
    assert page.html(stream.pk) == plain.render("0123456789abcd")
    await page.close()


# --- Who may


async def test_strangers_and_unknown_ids_are_gone_alike(generator: Tap, owner, stranger) -> None:
    stream = await create("tests.tap", owner=owner)
    unknown = "00000000-0000-4000-8000-000000000000"
    generator.say("secret")
    await committed(stream, "secret")
    for user in (stranger, None):
        page = await Page.open(user)
        for wanted in (str(stream.pk), unknown):
            await page.follow(wanted)
            header = await page.frame()
            assert (header["t"], header["s"], header["html"]) == ("gone", wanted, "")
        assert await page.communicator.receive_nothing()
        await page.close()


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "https://testserver", "http://testserver:8000"],
)
async def test_another_origin_is_refused(owner, origin: str | None) -> None:
    page = await Page.open(owner, origin=origin)
    assert (page.accepted, page.code) == (False, 4403)


async def test_a_trusted_origin_is_let_in(settings, generator: Tap, owner) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example"]
    page = await Page.open(owner, origin="https://chat.example")
    assert page.accepted
    await page.close()


async def test_signing_out_ends_what_the_socket_may_see(settings, generator: Tap, owner) -> None:
    settings.STREAMING_HEARTBEAT_SECONDS = 0.05
    settings.STREAMING_ACCESS_SECONDS = 0.05
    page = await Page.open(owner)
    await owner.__class__.objects.filter(pk=owner.pk).aupdate(password="changed")
    assert (await page.until("close"))["code"] == 4401


async def test_signing_out_closes_the_sockets_of_that_browser_at_once(
    generator: Tap, owner, stranger
) -> None:
    here, elsewhere, theirs = [await Page.open(one) for one in (owner, owner, stranger)]
    request = HttpRequest()
    request.session = SessionStore(session_key(here.communicator.scope))
    request.user = owner
    await sync_to_async(logout)(request)
    assert (await here.frame()) == {"t": "close", "code": 4401}
    for page in (elsewhere, theirs):
        assert await page.communicator.receive_nothing()
        await page.close()


@pytest.mark.parametrize(
    "message",
    [
        *(" ", "[]", "no json", '{"type": "send"}', '{"type": "follow", "stream": "x"}', "{}"),
        *('{"type": "ack", "n": Infinity}', "[" * 10_000),
    ],
)
async def test_what_is_no_message_closes_the_socket(generator: Tap, owner, message: str) -> None:
    page = await Page.open(owner)
    await page.communicator.send_to(text_data=message)
    assert (await page.frame()) == {"t": "close", "code": 4400}


async def test_a_flood_closes_the_socket(generator: Tap, owner) -> None:
    page = await Page.open(owner)
    for _ in range(301):
        await page.say(type="ack", n=0)
    assert (await page.until("close"))["code"] == 4429


async def test_a_user_has_a_limited_number_of_sockets(settings, generator: Tap, owner) -> None:
    settings.STREAMING_MAX_SOCKETS_PER_USER = 2
    pages = [await Page.open(owner) for _ in range(2)]
    third = await Page.open(owner)
    assert (third.accepted, third.code) == (False, 4429)
    for page in pages:
        await page.close()


# --- Flow control


async def test_a_page_that_does_not_acknowledge_gets_no_more_than_the_limit(
    settings, generator: Tap, owner
) -> None:
    settings.STREAMING_UNACKED_BYTES = 2_000
    stream = await create("tests.tap", owner=owner)
    slow, quick = await Page.open(owner), await Page.open(owner)
    slow.acks = False
    await slow.follow(stream.pk)
    await quick.follow(stream.pk)
    expected = ""
    for n in range(40):
        line = f"line {n} {'x' * 200}\n"
        generator.say(line)
        expected += line
        await quick.until_end_is(len(expected))
    received = 0
    while not await slow.communicator.receive_nothing(timeout=0.05):
        header = await slow.frame()
        received += len(header["html"])
    assert received <= 2_500
    # Once it acknowledges, a few merged frames bring it in step, none above the limit.
    before = len(slow.headers)
    slow.acks = True
    await slow.say(type="ack", n=slow.headers[-1]["n"])
    await slow.until_end_is(len(expected))
    assert len(slow.headers) <= before + 10
    assert all(len(header["html"]) <= 2_000 for header in slow.headers[before:])
    assert slow.html(stream.pk) == quick.html(stream.pk) == plain.render(expected)
    await slow.close()
    await quick.close()


async def test_a_long_text_comes_in_frames_of_64_kib(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    text = "".join(f"line {n} {'é' * 100}\n" for n in range(3_000))
    early, late = await Page.open(owner), await Page.open(owner)
    await early.follow(stream.pk)
    # In one piece from the provider.
    generator.say(text, None)
    await early.until("end")
    await late.follow(stream.pk)
    await late.until("end")
    for page in (early, late):
        frames = [header for header in page.headers if header["t"] in ("frame", "end")]
        assert len(frames) > 600_000 / 65_536
        assert max(len(header["html"].encode()) for header in frames) <= 65_536
        # What is shown is a prefix at each step.
        ends = [header["end"] for header in frames]
        assert ends == sorted(ends)
        assert page.html(stream.pk) == plain.render(text)
        await page.close()


async def test_a_block_larger_than_a_frame_goes_whole(owner) -> None:
    """Nothing smaller than a block can be put into a page."""
    options = {"may_read": owner_only, "renderer": "conversations.markdown.renderer"}
    async with tap("tests.giant", **options) as generator, running_supervisor():
        stream = await create("tests.giant", owner=owner)
        page = await Page.open(owner)
        await page.follow(stream.pk)
        generator.say("x" * 200_000, None)
        await page.until("end")
        assert page.html(stream.pk) == f"<p>{'x' * 200_000}</p>\n"
        await page.close()


async def test_a_page_that_never_acknowledges_is_closed(settings, generator: Tap, owner) -> None:
    settings.STREAMING_HEARTBEAT_SECONDS = 0.05
    settings.STREAMING_UNACKED_SECONDS = 0.1
    page = await Page.open(owner)
    page.acks = False
    assert (await page.until("close"))["code"] == 1013


async def test_a_silent_socket_beats(settings, generator: Tap, owner) -> None:
    settings.STREAMING_HEARTBEAT_SECONDS = 0.05
    page = await Page.open(owner)
    for _ in range(3):
        assert (await page.frame())["t"] == "beat"
    await page.close()


# --- Topics


async def test_a_topic_is_told_to_those_who_may_watch_it(generator: Tap, owner, stranger) -> None:
    versions = {"1": 3}
    topics.topic(
        "tests",
        may_watch=lambda user, key: user.pk == owner.pk,
        versions=lambda keys: {key: versions[key] for key in keys if key in versions},
    )
    try:
        mine, theirs = await Page.open(owner), await Page.open(stranger)
        for page in (mine, theirs):
            await page.say(type="watch", topic="tests:1", version=3)
        await asyncio.sleep(0)
        await until(lambda: get_hub()._watchers.get("tests:1"))
        versions["1"] = 4
        topics.touch("tests:1", 4)
        header = await mine.until("topic")
        assert (header["topic"], header["version"]) == ("tests:1", 4)
        # A touch that was lost is found by the poll.
        versions["1"] = 5
        header = await mine.until("topic")
        assert header["version"] == 5
        assert await theirs.communicator.receive_nothing()
        await mine.close()
        await theirs.close()
        assert "tests:1" not in get_hub()._watchers
    finally:
        topics._registry.pop("tests")


async def test_nothing_is_left_behind_when_pages_go(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("text")
    await page.until_end_is(4)
    await page.close()
    await until(lambda: not get_hub().tails)


async def test_a_page_may_show_the_ends_of_any_number_of_streams(
    settings, generator: Tap, owner
) -> None:
    settings.STREAMING_MAX_FOLLOWS = 2
    page = await Page.open(owner)
    for _ in range(4):
        stream = await create("tests.tap", owner=owner)
        generator.say("text", None)
        await page.follow(stream.pk)
        await page.until("end")
    assert not get_hub().tails
    await page.close()


async def test_a_deleted_stream_is_told_once(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner, autostart=False)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    await page.frame()
    await Stream.objects.all().adelete()
    await page.until("gone")
    assert not get_hub().tails
    # The hub's polling would tell it again four times a second.
    assert await page.communicator.receive_nothing(timeout=0.6)
    await page.close()


async def test_a_stream_that_is_deleted_in_mid_answer_is_gone_at_once(
    generator: Tap, owner
) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("text")
    await page.until_end_is(4)
    await stop(stream, EndReason.DELETED)
    async with asyncio.timeout(1):
        await page.until("gone")
        await generator.closed.wait()
    # Its page tells nothing of an end, also when it asks again.
    assert all(header["t"] != "end" for header in page.headers)
    await page.close()


async def test_who_is_gone_is_disconnected_when_what_they_show_is(generator: Tap, owner) -> None:
    stream = await create("tests.tap", owner=owner)
    page = await Page.open(owner)
    await page.follow(stream.pk)
    generator.say("text")
    await page.until_end_is(4)
    owner.is_active = False
    await sync_to_async(owner.save)()
    await stop(stream, EndReason.DELETED)
    async with asyncio.timeout(1):
        assert (await page.until("close"))["code"] == 4401
    await page.close()


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_topic_that_is_gone_has_its_watchers_asked_again(
    settings, generator: Tap, owner, is_told: bool
) -> None:
    settings.STREAMING_POLL_SECONDS = 0.1
    versions = {"1": 3}
    topics.topic(
        "tests",
        may_watch=lambda user, key: True,
        versions=lambda keys: {key: versions[key] for key in keys if key in versions},
    )
    try:
        stays, goes = await Page.open(owner), await Page.open(owner)
        for page in (stays, goes):
            await page.say(type="watch", topic="tests:1", version=3)
        await until(lambda: len(get_hub()._watchers.get("tests:1", ())) == 2)
        await sync_to_async(SessionStore(session_key(goes.communicator.scope)).flush)()
        versions.clear()
        if is_told:
            topics.gone("tests:1")
        async with asyncio.timeout(1 if is_told else 3):
            assert (await goes.until("close"))["code"] == 4401
            # A version that the page does not have: it fetches, and learns what became of it.
            assert (await stays.until("topic"))["version"] == 4
        assert "tests:1" not in get_hub()._watchers
        assert await stays.communicator.receive_nothing(timeout=0.3)
        await stays.close()
    finally:
        topics._registry.pop("tests")


# --- When something fails


@asynccontextmanager
async def without(table: str) -> AsyncIterator[None]:
    """A database that answers no query of `table`."""

    @sync_to_async
    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    await rename(table, "away")
    try:
        yield
    finally:
        await rename("away", table)


async def test_a_tail_that_cannot_read_tries_again(
    monkeypatch: pytest.MonkeyPatch, generator: Tap, owner
) -> None:
    monkeypatch.setattr(tails, "RETRY_SECONDS", 0.02)
    stream = await create("tests.tap", owner=owner, autostart=False)
    await sync_to_async(write)(stream, "one ", "two ")
    page = await Page.open(owner)
    async with without("streaming_chunk"):
        await page.follow(stream.pk)
        await until(lambda: stream.pk in get_hub().tails)
        # What is told meanwhile is kept in its place.
        get_hub().extend(stream.pk, 8, "three")
        assert await page.communicator.receive_nothing(timeout=0.1)
    await sync_to_async(write)(stream, "three")
    await page.until_end_is(13)
    assert page.html(stream.pk) == plain.render("one two three")
    await page.close()


async def test_access_is_asked_again_after_a_failure(settings, generator: Tap, owner) -> None:
    settings.STREAMING_HEARTBEAT_SECONDS = 0.05
    settings.STREAMING_ACCESS_SECONDS = 0.05
    page = await Page.open(owner)
    async with without("django_session"):
        for _ in range(3):
            assert (await page.frame())["t"] == "beat"
    await owner.__class__.objects.filter(pk=owner.pk).aupdate(password="changed")
    assert (await page.until("close"))["code"] == 4401


async def test_an_end_is_told_without_a_foot_that_fails(owner) -> None:
    def fail(stream: Stream) -> dict:
        raise RuntimeError("no foot")

    async with (
        tap(may_read=owner_only, foot_context=fail) as generator,
        running_supervisor(),
    ):
        stream = await create("tests.tap", owner=owner)
        page = await Page.open(owner)
        await page.follow(stream.pk)
        # Nothing is left to show with the end.
        generator.say("text\n")
        await page.until_end_is(5)
        generator.say(None)
        assert (await page.until("end"))["status"] == Status.DONE
        await page.close()


async def test_a_shutdown_lets_its_pages_see_the_end_before_they_go(owner) -> None:
    def take_time(stream: Stream) -> dict:
        time.sleep(0.3)
        return {}

    async with (
        tap(may_read=owner_only, foot_context=take_time) as generator,
        running_supervisor(),
    ):
        stream = await create("tests.tap", owner=owner)
        page = await Page.open(owner)
        await page.follow(stream.pk)
        generator.say("to the ")
        await page.until_end_is(7)
        draining = asyncio.create_task(supervisor.drain(5))
        assert (await page.until("close"))["code"] == RESTARTING
        again = await Page.open(owner)
        await again.follow(stream.pk)
        generator.say("end", None)
        assert (await again.until("end"))["status"] == Status.DONE
        assert again.html(stream.pk) == plain.render("to the end")
        assert (await again.until("close"))["code"] == RESTARTING
        await draining


async def test_a_document_that_fails_is_made_anew(owner) -> None:
    class Flaky(PlainText):
        def live(self, text: str = "") -> PlainTextDocument:
            return FlakyDocument(text)

    class FlakyDocument(PlainTextDocument):
        def feed(self, text: str):
            if text == "poison":
                raise RuntimeError(text)
            return super().feed(text)

    async with (
        tap(may_read=owner_only, renderer=Flaky()) as generator,
        running_supervisor(),
    ):
        stream = await create("tests.tap", owner=owner)
        page = await Page.open(owner)
        await page.follow(stream.pk)
        generator.say("one ")
        await page.until_end_is(4)
        generator.say("poison")
        await committed(stream, "one poison")
        generator.say(" two", None)
        await page.until("end")
        assert page.html(stream.pk) == plain.render("one poison two")
        await page.close()


async def test_a_page_that_knows_more_is_not_set_back(settings, owner) -> None:
    # Another process wrote and drew it; neither doorbell nor poll has told this one.
    settings.STREAMING_POLL_SECONDS_WITHOUT_LAYER = 1_000
    async with tap(may_read=owner_only), running_supervisor():
        stream = await create("tests.tap", owner=owner, autostart=False)
        await sync_to_async(write)(stream, "a\n")
        first, second = await Page.open(owner), await Page.open(owner)
        await first.follow(stream.pk)
        await first.until_end_is(2)
        await sync_to_async(write)(stream, "b\n")
        second.body[str(stream.pk)] = (plain.render("a\nb\n"), "")
        await second.follow(stream.pk, cut=4, key=plain.version)
        header = await second.frame()
        assert (header["full"], header["from"], header["end"]) == (False, 4, 4)
        await first.until_end_is(4)
        await first.close()
        await second.close()


async def test_pages_are_told_of_the_end_in_the_language_of_the_stream(owner) -> None:
    def korean(stream: Stream) -> str:
        assert Stream.objects.filter(pk=stream.pk).exists(), "it may query"
        return "ko"

    def fail(stream: Stream) -> str:
        raise RuntimeError("no language")

    for language, sentence, note in (
        (korean, "중지했습니다.", "중단되었다가 이어졌습니다."),
        (None, "Stopped.", NOTE),
        (fail, "Stopped.", NOTE),
    ):
        async with tap(may_read=owner_only, language=language):
            stream = await create("tests.tap", owner=owner, autostart=False)
            await sync_to_async(write)(stream, "one")
            page = await Page.open(owner)
            await page.follow(stream.pk)
            await page.until_end_is(3)
            await sync_to_async(take_over)(stream)
            assert note in (await page.until_end_is(3))["html"]
            await sync_to_async(actions.stop)(stream)
            html = (await page.until("end"))["html"]
            assert sentence in html
            assert note in html
            await page.close()
    await get_hub().close()


async def test_a_failure_is_stored_in_the_language_of_the_stream(owner) -> None:
    hooks = {"may_read": owner_only, "language": lambda stream: "ko"}
    async with tap(**hooks) as generator, running_supervisor():
        stream = await create("tests.tap", owner=owner)
        generator.say(StreamFailed("provider", gettext_lazy("The provider stopped responding.")))
        assert (await ended(stream)).end_detail == "제공자의 응답이 끊겼습니다."

from __future__ import annotations

import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F

from streaming.actions import create
from streaming.generators import generator
from streaming.models import EndReason, Status, Stream
from tests.streaming.logs import stream_with

ended_texts: list[str] = []


def remember(stream: Stream, text: str) -> None:
    ended_texts.append(text)


@generator("tests.carries-on", carries_on=True, on_end=remember)
async def carries_on(stream: Stream, params: dict[str, Any], committed: str):  # type: ignore[no-untyped-def]
    """A generator that could go on."""
    yield ""


@pytest.fixture(autouse=True)
def short_window(settings: Any) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.3
    settings.STREAMING_SWEEP_SECONDS = 0.1


def sweep() -> str:
    out = StringIO()
    call_command("sweepstreams", stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_silent_stream_ends_as_timeout_and_keeps_its_text() -> None:
    stream = stream_with("kept")
    assert sweep() == "1 streams were ended, 0 are left to the next server.\n"
    stream.refresh_from_db()
    assert (stream.status, stream.end_reason) == (Status.TIMEOUT, EndReason.LOST)
    assert stream.length == 4


@pytest.mark.django_db
def test_a_silent_stream_is_left_to_a_server_that_can_run_it_again() -> None:
    without_text = stream_with()
    other = stream_with("half")
    Stream.objects.filter(pk=other.pk).update(generator="tests.carries-on")
    assert sweep() == "0 streams were ended, 2 are left to the next server.\n"
    for stream in (without_text, other):
        stream.refresh_from_db()
        assert stream.status == Status.STREAMING
        assert stream.epoch == 1


@pytest.mark.django_db
def test_a_stream_of_a_removed_generator_does_not_hang_for_ever() -> None:
    stream = stream_with()
    Stream.objects.filter(pk=stream.pk).update(generator="removed.app")
    sweep()
    stream.refresh_from_db()
    assert stream.status == Status.TIMEOUT


@pytest.mark.django_db
def test_a_failed_end_hook_is_tried_again() -> None:
    stream = stream_with("whole", status=Status.DONE)
    Stream.objects.filter(pk=stream.pk).update(generator="tests.carries-on", hook_pending=True)
    sweep()
    stream.refresh_from_db()
    assert not stream.hook_pending
    assert ended_texts[-1] == "whole"


@pytest.mark.django_db
def test_ended_and_unstarted_streams_are_left_alone() -> None:
    ended = stream_with("x", status=Status.STOPPED, reason=EndReason.USER)
    waiting = create("tests.log", autostart=False)
    assert sweep() == "0 streams were ended, 0 are left to the next server.\n"
    ended.refresh_from_db()
    waiting.refresh_from_db()
    assert (ended.status, waiting.status) == (Status.STOPPED, Status.PENDING)


@pytest.mark.django_db(transaction=True)
def test_a_stream_whose_writer_beats_lives_on() -> None:
    stream = stream_with("slow but alive")
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            Stream.objects.filter(pk=stream.pk).update(beat=F("beat") + 1)
        connection.close()

    writer = threading.Thread(target=beat)
    writer.start()
    try:
        sweep()
    finally:
        over.set()
        writer.join()
    stream.refresh_from_db()
    assert stream.status == Status.STREAMING

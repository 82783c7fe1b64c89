"""Streams with text for tests that only read them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from streaming import actions
from streaming.generators import generator
from streaming.models import Chunk, EndReason, Status, Stream


@generator("tests.log")
async def unused(stream: Stream, params: dict[str, Any], committed: str):  # type: ignore[no-untyped-def]
    """A registered name; these tests write the log themselves."""
    yield ""


def stream_with(
    *texts: str, owner: Any = None, status: Status | None = None, reason: EndReason | str = ""
) -> Stream:
    """A started stream with a chunk for each of `texts`, 100 ms apart; ended with `status`."""
    begun = timezone.now() - timedelta(seconds=10)
    stream = actions.create("tests.log", owner=owner)
    for number, text in enumerate(texts):
        Chunk.objects.create(
            stream=stream,
            start=stream.length,
            text=text,
            epoch=1,
            created_at=begun + timedelta(milliseconds=100 * (number + 1)),
        )
        stream.length += len(text)
    stream.status, stream.epoch = Status.STREAMING, 1
    stream.start_requested_at = stream.started_at = begun
    if texts:
        stream.first_text_at = begun + timedelta(milliseconds=100)
    stream.save()
    if status is not None:
        actions.end_stream(stream.pk, status, reason)
        stream.refresh_from_db()
    return stream

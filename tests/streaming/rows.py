"""Rows as writers leave them, for the tests of readers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from streaming.models import Chunk, EndReason, Status, Stream


async def write_nothing(stream: Stream, params: dict[str, Any], text: str) -> AsyncIterator[str]:
    """A generator for streams that the test itself writes."""
    return
    yield


@transaction.atomic
def write(stream: Stream, *texts: str) -> None:
    """Append chunks as a journal does, and leave the stream streaming."""
    start = Stream.objects.get(pk=stream.pk).length
    for text in texts:
        Chunk.objects.create(
            stream=stream, start=start, text=text, epoch=1, created_at=timezone.now()
        )
        start += len(text)
    Stream.objects.filter(pk=stream.pk).update(
        # Not released (0): no sweep claims it at once.
        status=Status.STREAMING,
        epoch=1,
        beat=1,
        length=start,
        first_text_at=Coalesce("first_text_at", timezone.now()),
    )


def end(stream: Stream, status: Status = Status.DONE, reason: str = EndReason.COMPLETE) -> None:
    """End the stream as its writer does."""
    Stream.objects.filter(pk=stream.pk).update(
        status=status, end_reason=reason, ended_at=timezone.now()
    )

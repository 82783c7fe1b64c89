"""A stream's text from an offset on: what is stored first, then what arrives.

Offsets are Unicode code points of the stored (normalised) text.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from django.db import InterfaceError, OperationalError

from .exceptions import BadOffset
from .models import FINAL_STATUSES, Chunk, Status, Stream

logger = logging.getLogger(__name__)

READ_AT_MOST = 65_536
# A hint may get lost on its way; then the database is asked so many seconds later.
RECHECK_SECONDS = 5.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of a stream's text, `text` being what stands at `start` to `end`."""

    start: int
    text: str
    end: int
    # The stream has ended and `end` is its length: nothing follows.
    closed: bool
    # The state as of `end`: a final one, with its reason, only when `closed`.
    status: str
    reason: str
    # There was more text stored behind `end` when this was read.
    more: bool = False
    # Of the whole text, when `closed`.
    sha256: str = ""


def text_of(stream: Stream) -> str:
    """All committed text. One query."""
    chunks = Chunk.objects.filter(stream=stream.pk).order_by("start")
    return "".join(chunks.values_list("text", flat=True))


def hash_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, in hex: what `Stream.sha256` holds of an ended stream."""
    return hashlib.sha256(text.encode()).hexdigest()


def text_from(stream_id: UUID, offset: int, at_most: int) -> str:
    """The stored text from `offset` on, up to `at_most` code points. One query."""
    chunks = Chunk.objects.filter(stream=stream_id)
    # The chunk that holds the offset is the last one that starts at or before it.
    holder = chunks.filter(start__lte=offset).order_by("-start").values("start")[:1]
    rows = chunks.filter(start__gte=holder, start__lt=offset + at_most).order_by("start")
    pieces = []
    end = offset
    for start, text in rows.values_list("start", "text"):
        if start > end:
            # Chunks are missing: the stream is being deleted. What is whole is still true.
            break
        pieces.append(text[end - start :])
        end = start + len(text)
    return "".join(pieces)[:at_most]


def read(stream_id: UUID, offset: int, *, at_most: int = READ_AT_MOST) -> Batch:
    """The text from `offset` on, up to `at_most` code points; two queries, one at the tail.

    Raises BadOffset, and Stream.DoesNotExist.
    """
    # 1. The row first: chunks up to this length are committed, whatever is written meanwhile.
    row = Stream.objects.only("status", "end_reason", "length", "sha256").get(pk=stream_id)
    if not 0 <= offset <= row.length:
        raise BadOffset(f"Offset {offset} is beyond the text; allowed are 0 to {row.length}.")
    # 2. Then the chunks, which may already hold more than that.
    text = text_from(stream_id, offset, at_most) if offset < row.length else ""
    end = offset + len(text)
    # 3. The end is reported only with the whole text.
    ended = row.status in FINAL_STATUSES
    closed = ended and end >= row.length
    return Batch(
        start=offset,
        text=text,
        end=end,
        closed=closed,
        status=Status.STREAMING.value if ended and not closed else row.status,
        reason=row.end_reason if closed else "",
        more=end < row.length,
        sha256=row.sha256 if closed else "",
    )


async def follow(stream_id: UUID, offset: int = 0) -> AsyncIterator[Batch]:
    """The text from `offset` on as it is committed, until a last batch with `closed`.

    Waits out a database that does not answer. Raises BadOffset, and Stream.DoesNotExist when there
    is no such stream or it is deleted.
    """
    # Here, since the hub's tails read through this module.
    from .hub import get_hub

    # Registered before the first read: what is committed after a read wakes the next wait.
    async with get_hub().subscribe(stream_id) as subscription:
        while True:
            try:
                batch = await subscription.batch(offset)
            except (OperationalError, InterfaceError) as error:
                logger.warning("Reading stream %s waits: %s", stream_id, type(error).__name__)
                await subscription.changed(RETRY_SECONDS)
                continue
            if batch.text or batch.closed:
                yield batch
            if batch.closed:
                return
            offset = batch.end
            if not (batch.text and batch.more):
                await subscription.changed(RECHECK_SECONDS)

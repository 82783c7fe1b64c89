"""Whether stored streams are whole: every rule that a stream's rows keep, checked and repaired.

The row is read first, then its chunks, so that a stream which is being written meanwhile is judged
by what was committed before the row was read. Nothing is held in memory but one chunk and the copy
of one text.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from .actions import retry_hook
from .conf import conf
from .exceptions import UnknownGenerator
from .generators import get_generator
from .models import FINAL_STATUSES, Chunk, Status, Stream
from .reader import hash_of

PAGE_STREAMS = 500
# A stream that is being deleted has no first chunks for a moment; then it is gone.
LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Problem:
    """One broken rule of one stream."""

    stream_id: UUID
    # chunks, epochs, ended_at, hash, length: what cannot be repaired. no_hash, wrong_length,
    # content, hook: what can.
    kind: str
    sentence: str

    @property
    def is_repairable(self) -> bool:
        return self.kind in REPAIRS


@dataclass(frozen=True)
class Log:
    """What a stream's chunks add up to, as far as they are contiguous."""

    length: int
    sha256: str
    # What is wrong with the chunks themselves: (kind, sentence), or None.
    fault: tuple[str, str] | None


def stream_ids(chosen: Sequence[UUID] = ()) -> Iterator[UUID]:
    """All ids (or those chosen), a page at a time in the order of the key."""
    streams = Stream.objects.order_by("pk")
    if chosen:
        streams = streams.filter(pk__in=chosen)
    page = list(streams.values_list("pk", flat=True)[:PAGE_STREAMS])
    while page:
        yield from page
        page = list(streams.filter(pk__gt=page[-1]).values_list("pk", flat=True)[:PAGE_STREAMS])


def check(stream_id: UUID) -> list[Problem]:
    """What is wrong with the stream; nothing when it is deleted meanwhile. Queries.

    What cannot be repaired is looked at until two looks agree.
    """
    found = _look(stream_id)
    while any(not problem.is_repairable for problem in found):
        time.sleep(LOOK_AGAIN_SECONDS)
        before, found = found, _look(stream_id)
        if found == before:
            break
    return found


def repair(problem: Problem) -> bool:
    """Repair what can be repaired; False when it could not be, or is no longer as it was found."""
    with transaction.atomic():
        # The lock: nobody folds or deletes the chunks between the look and the repair.
        stream = Stream.objects.select_for_update().filter(pk=problem.stream_id).first()
        if stream is None or problem not in _look(problem.stream_id):
            return False
        return REPAIRS[problem.kind](stream)


def silent_streams(chosen: Sequence[UUID] = ()) -> list[UUID]:
    """Running streams without a heartbeat for as long as counts as abandoned; waits that long."""
    running = Stream.objects.filter(status=Status.STREAMING)
    if chosen:
        running = running.filter(pk__in=chosen)
    before = set(running.values_list("pk", "epoch", "beat"))
    if not before:
        return []
    time.sleep(conf.ABANDONED_SECONDS)
    after = set(running.values_list("pk", "epoch", "beat"))
    return sorted(pk for pk, _epoch, _beat in before & after)


# --- The rules


def _look(stream_id: UUID) -> list[Problem]:
    # 1. The row, 2. the chunks that it says are there, 3. what is kept beside them.
    stream = Stream.objects.filter(pk=stream_id).first()
    if stream is None:
        return []
    log = _add_up(stream)
    return [Problem(stream_id, kind, sentence) for kind, sentence in _judge(stream, log)]


def _add_up(stream: Stream) -> Log:
    chunks = Chunk.objects.filter(stream=stream.pk).order_by("start")
    if stream.is_open:
        # Newer ones may have been committed since the row was read.
        chunks = chunks.filter(start__lt=stream.length)
    digest = hashlib.sha256()
    end = epoch = 0
    fault: tuple[str, str] | None = None
    for chunk in chunks.only("start", "text", "epoch").iterator(chunk_size=100):
        if chunk.start != end:
            fault = ("chunks", f"A chunk starts at {chunk.start}, the text before ends at {end}.")
        elif not chunk.text:
            fault = ("chunks", f"The chunk at {chunk.start} is empty.")
        elif not epoch <= chunk.epoch <= stream.epoch:
            fault = (
                "epochs",
                f"The chunk at {chunk.start} is of epoch {chunk.epoch}, after one of {epoch}; "
                f"the stream is at {stream.epoch}.",
            )
        if fault:
            break
        end, epoch = end + len(chunk.text), chunk.epoch
        digest.update(chunk.text.encode())
    return Log(end, digest.hexdigest(), fault)


def _judge(stream: Stream, log: Log) -> Iterator[tuple[str, str]]:
    if stream.status in FINAL_STATUSES and stream.ended_at is None:
        yield "ended_at", f"It is {stream.status} without the time of its end."
    if log.fault:
        yield log.fault
        return
    if stream.is_open:
        if log.length != stream.length:
            yield "length", f"The row says {stream.length} characters, the chunks {log.length}."
        return
    if stream.sha256 not in ("", log.sha256):
        yield "hash", f"The {log.length} characters are not those whose hash was kept at the end."
        return
    if log.length != stream.length:
        yield "wrong_length", f"The row says {stream.length} characters, the chunks {log.length}."
    if not stream.sha256:
        yield "no_hash", "It ended without a hash of its text."
    if stream.hook_pending:
        yield "hook", "Its end was not handed over yet."
    elif not _is_kept_right(stream, log):
        yield "content", "The text that is kept beside the stream is another."


def _is_kept_right(stream: Stream, log: Log) -> bool:
    try:
        kept_text = get_generator(stream.generator).kept_text
    except UnknownGenerator:
        return True
    kept = kept_text(stream) if kept_text else None
    return kept is None or hash_of(kept) == log.sha256


# --- Repairs


def _mend_row(stream: Stream) -> bool:
    """Length and hash as the chunks of an ended stream have them."""
    log = _add_up(stream)
    stream.length, stream.sha256 = log.length, log.sha256
    stream.save(update_fields=["length", "sha256"])
    return True


def _hand_over_again(stream: Stream) -> bool:
    if not stream.hook_pending:
        stream.hook_pending = True
        stream.save(update_fields=["hook_pending"])
    return retry_hook(stream)


REPAIRS: dict[str, Any] = {
    "wrong_length": _mend_row,
    "no_hash": _mend_row,
    "content": _hand_over_again,
    "hook": _hand_over_again,
}

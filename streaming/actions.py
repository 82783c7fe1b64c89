"""The verbs of a stream, plain and synchronous: what they set off happens after commit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import accumulate
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from .dispatch import request_start
from .exceptions import is_storage_failure, log_failure
from .generators import get_generator
from .models import Chunk, EndReason, Status, Stream
from .normalise import normalise
from .reader import hash_of, text_of

logger = logging.getLogger(__name__)

DELETE_PAGE_CHUNKS = 1_000


def create(
    generator: str,
    params: dict[str, Any] | None = None,
    owner: Any = None,
    *,
    autostart: bool = True,
) -> Stream:
    """Store a new stream, which starts after commit or, without `autostart`, by `start`.

    `params` must be what JSON can hold, `owner` a user of the project. Raises UnknownGenerator.
    """
    get_generator(generator)
    with transaction.atomic(savepoint=False):
        stream = Stream.objects.create(
            generator=generator,
            params=params or {},
            owner=owner,
            start_requested_at=timezone.now() if autostart else None,
        )
        if autostart:
            request_start(stream)
    return stream


def start(stream: Stream) -> bool:
    """Request the start of a pending stream; True for exactly one caller, however many try."""
    now = timezone.now()
    waiting = Stream.objects.filter(
        pk=stream.pk, status=Status.PENDING, start_requested_at__isnull=True
    )
    with transaction.atomic():
        if not waiting.update(start_requested_at=now):
            return False
        stream.start_requested_at = now
        request_start(stream)
    return True


def stop(stream: Stream, reason: EndReason = EndReason.USER) -> bool:
    """End an open stream as `stopped`; its committed text stays, its writer is refused.

    False when it had already ended.
    """
    from .journal import hint_stopped

    with transaction.atomic():
        if end_stream(stream.pk, Status.STOPPED, reason) is None:
            return False
        # Only a hint: the writer's next append is refused whether it arrives or not.
        transaction.on_commit(lambda: hint_stopped(stream.pk), robust=True)
    return True


def resume(stream: Stream, params: dict[str, Any] | None = None) -> Stream | None:
    """Let an ended stream's text go on: the new stream that has it now and starts after commit.

    The ended row goes; its chunks, with their times, and all that refers to it are the new one's,
    whose generator is given the text: call it for one that uses it. `params` replace those of the
    ended one. None, and nothing changes, for a stream without text, one that is open, and one that
    was deleted or resumed by another caller.
    """
    # A new row, so that each keeps the one end that was written. In one transaction:
    with transaction.atomic():
        # 1. The lock: of two callers one waits here, and then finds no row.
        whole = Stream.objects.ended().filter(
            Exists(Chunk.objects.filter(stream=OuterRef("pk"), start=0))
        )
        ended = whole.select_for_update().filter(pk=stream.pk).first()
        if ended is None or ended.end_reason == EndReason.DELETED:
            return None
        fresh = Stream.objects.create(
            generator=ended.generator,
            params=ended.params if params is None else params,
            owner_id=ended.owner_id,
            length=ended.length,
            start_requested_at=timezone.now(),
        )
        # 2. The text, as what was there before the first claim: epochs never go back in a log.
        ended.chunks.update(stream=fresh, epoch=0)
        # 3. Everything else that refers to the row; its project needs no step of its own.
        for relation in Stream._meta.related_objects:
            rows = relation.related_model._base_manager.filter(**{relation.field.name: ended})
            rows.update(**{relation.field.name: fresh})
        ended.delete()
        request_start(fresh)
    return fresh


def delete(stream: Stream) -> None:
    """Delete the stream and its text, ending it first if it is open.

    Chunks go in pages of a transaction each, so call it outside of one; when cut short, calling it
    again goes on. Deleting what is gone does nothing.
    """
    stop(stream, EndReason.DELETED)
    chunks = Chunk.objects.filter(stream=stream.pk)
    starts = chunks.order_by("start").values_list("start", flat=True)
    while page_end := starts[DELETE_PAGE_CHUNKS - 1 : DELETE_PAGE_CHUNKS].first():
        chunks.filter(start__lte=page_end).delete()
    Stream.objects.filter(pk=stream.pk).delete()


def compact(stream_id: UUID) -> bool:
    """Fold the chunks of an ended stream into one; its text, and what readers get, stay the same.

    False, and nothing changes, when it has not ended or its chunks are not the text that it ended
    with.
    """
    with transaction.atomic():
        # The lock: two folders, or one and a delete, would each see chunks that the other removes.
        stream = Stream.objects.ended().select_for_update().filter(pk=stream_id).first()
        if stream is None:
            return False
        chunks = list(stream.chunks.order_by("start"))
        text = "".join(chunk.text for chunk in chunks)
        ends = accumulate(len(chunk.text) for chunk in chunks)
        is_whole = [chunk.start for chunk in chunks] == [0, *ends][:-1]
        if not is_whole or len(text) != stream.length or stream.sha256 not in ("", hash_of(text)):
            return False
        if len(chunks) > 1:
            first, last = chunks[0], chunks[-1]
            stream.chunks.filter(start__gt=0).delete()
            first.text, first.epoch, first.created_at = text, last.epoch, last.created_at
            first.save(update_fields=["text", "epoch", "created_at"])
    return True


def end_stream(
    stream_id: UUID,
    status: Status,
    reason: str,
    detail: str = "",
    epoch: int | None = None,
    result: Mapping[str, Any] | None = None,
    hand_over: bool = True,
) -> Stream | None:
    """Write the final state, the text's hash, and run the `on_end` hook; the caller's transaction.

    With `epoch` only as the writer of that epoch. Returns the ended row, or None when another end
    was first. If the hook fails, the end stands and the hook stays pending for `retry_hook`;
    without `hand_over` it does so at once.
    """
    candidates = Stream.objects.open().filter(pk=stream_id)
    if epoch is not None:
        candidates = candidates.filter(epoch=epoch)
    changes: dict[str, Any] = {
        "status": status,
        "end_reason": reason,
        "end_detail": normalise(detail)[: Stream._meta.get_field("end_detail").max_length],
        "ended_at": timezone.now(),
    }
    if result is not None:
        changes["result"] = dict(result)
    # No savepoint of its own: an error here is one of the caller's transaction.
    with transaction.atomic(savepoint=False):
        if not candidates.update(**changes):
            return None
        # Read behind the update: from there on no writer adds to the text.
        stream = Stream.objects.get(pk=stream_id)
        text = text_of(stream)
        stream.sha256 = hash_of(text)
        stream.hook_pending = not hand_over
        try:
            with transaction.atomic():
                stream.topics = _call_hook(stream, text) if hand_over else {}
        except Exception as error:
            if is_storage_failure(error):
                # SQLite may have rolled the whole transaction back.
                raise
            log_failure(logger, error, "on_end of stream %s failed", stream.pk)
            stream.hook_pending = True
        stream.save(update_fields=["sha256", "hook_pending"])
    return stream


def retry_hook(stream: Stream) -> bool:
    """Run a pending `on_end` hook again; False when it failed or another caller has run it."""
    pending = Stream.objects.filter(pk=stream.pk, hook_pending=True)
    try:
        with transaction.atomic():
            # First, so that of two callers one waits here and then finds nothing to do.
            if not pending.update(hook_pending=False):
                return False
            stored = Stream.objects.get(pk=stream.pk)
            _call_hook(stored, text_of(stored))
    except Exception as error:
        log_failure(logger, error, "on_end of stream %s failed", stream.pk)
        return False
    stream.hook_pending = False
    return True


def _call_hook(stream: Stream, text: str) -> Mapping[str, int]:
    hook = get_generator(stream.generator).on_end
    return (hook(stream, text) if hook else None) or {}

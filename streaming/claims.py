"""Claims by guarded update, and the rounds that find what nobody runs; all synchronous."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from .actions import end_stream, retry_hook
from .conf import conf
from .dispatch import request_again
from .models import EndReason, Status, Stream, StreamQuerySet

# A released stream: its writer let go and said so; heartbeats of a claim start above it.
RELEASED = 0
# Pending streams are claimed at once by who created them; the sweep leaves them so much time.
PENDING_GRACE_SECONDS = 2
HOOKS_A_ROUND = 20
PENDING_A_ROUND = 1_000


def claim_pending(stream_id: UUID) -> Stream | None:
    """Take a pending stream whose start was requested; None when another has it."""
    return _claim(stream_id, Stream.objects.startable())


def claim_abandoned(stream_id: UUID, epoch: int, beat: int) -> Stream | None:
    """Take over a stream whose (epoch, beat) has not moved; None when it has.

    A released one keeps its epoch: its writer has nothing on the way, and a hand-over (a restart of
    the server) is no failed attempt.
    """
    candidates = Stream.objects.filter(status=Status.STREAMING, epoch=epoch, beat=beat)
    return _claim(stream_id, candidates, attempts=0 if beat == RELEASED else 1)


def _claim(stream_id: UUID, candidates: StreamQuerySet, attempts: int = 1) -> Stream | None:
    """Raise the epoch by `attempts` in one guarded update; the row as claimed, or None.

    The claim after the last allowed attempt ends the stream and returns the ended row.
    """
    now = Value(timezone.now(), DateTimeField())
    with transaction.atomic():
        claimed = candidates.filter(pk=stream_id).update(
            status=Status.STREAMING,
            epoch=F("epoch") + attempts,
            beat=RELEASED + 1,
            # Never before the first text, whatever this process's clock says: see `was_taken_over`.
            started_at=Greatest(now, Coalesce("first_text_at", now)),
        )
        if not claimed:
            return None
        stream = Stream.objects.get(pk=stream_id)
        if stream.epoch > conf.MAX_ATTEMPTS:
            return end_stream(stream_id, Status.ERROR, EndReason.ATTEMPTS)
    return stream


def release(stream: Stream) -> None:
    """Let a stream of this process go, for another to carry on at once."""
    mine = Stream.objects.filter(pk=stream.pk, epoch=stream.epoch, status=Status.STREAMING)
    with transaction.atomic():
        if mine.update(beat=RELEASED):
            request_again(stream.pk, stream.epoch, RELEASED)


@dataclass
class Found:
    """What a round found."""

    # (stream id, owner id)
    startable: list[tuple[UUID, Any]] = field(default_factory=list)
    # (stream id, epoch, beat)
    abandoned: list[tuple[UUID, int, int]] = field(default_factory=list)


class Sweeper:
    """Remembers since when it has seen each (epoch, beat) unchanged, by its own monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Pending streams, and since when they wait before these eyes.
        self._pending: dict[UUID, float] = {}
        # stream id -> (epoch, beat, seen since)
        self._seen: dict[UUID, tuple[int, int, float]] = {}
        self._last_round: float | None = None

    def forget(self) -> None:
        """Start every window anew: a round failed, so nobody's silence proves anything."""
        self._seen.clear()

    def round(self, own: frozenset[UUID] = frozenset()) -> Found:
        """One round; streams in `own` are this process's and are left alone."""
        began = self._clock()
        # Rounds more than three seconds apart, or one that could not write, prove nothing either.
        if self._last_round is not None and began - self._last_round > conf.SWEEP_SECONDS + 0.5:
            self.forget()
        _prove_writable()
        rows = list(
            Stream.objects.filter(status=Status.STREAMING)
            .exclude(pk__in=own)
            .values_list("pk", "epoch", "beat")
        )
        now = self._clock()
        if now - began > 1:
            self.forget()
        found = Found()
        seen = {}
        for stream_id, epoch, beat in rows:
            before = self._seen.get(stream_id)
            since = before[2] if before and before[:2] == (epoch, beat) else now
            seen[stream_id] = (epoch, beat, since)
            if beat == RELEASED or now - since >= conf.ABANDONED_SECONDS:
                found.abandoned.append((stream_id, epoch, beat))
        self._seen = seen
        self._last_round = began
        found.startable = self._waiting_too_long(own, now)
        for stream in Stream.objects.filter(hook_pending=True)[:HOOKS_A_ROUND]:
            retry_hook(stream)
        return found

    def _waiting_too_long(self, own: frozenset[UUID], now: float) -> list[tuple[UUID, Any]]:
        """(stream id, owner id) of pending streams that were seen waiting for the whole grace.

        When they were requested is in the clock of who did, which may be wrong; it only sorts them.
        """
        rows = list(
            Stream.objects.startable()
            .exclude(pk__in=own)
            .order_by("start_requested_at")
            .values_list("pk", "owner_id")[:PENDING_A_ROUND]
        )
        self._pending = {stream_id: self._pending.get(stream_id, now) for stream_id, _ in rows}
        return [row for row in rows if now - self._pending[row[0]] >= PENDING_GRACE_SECONDS]


def _prove_writable() -> None:
    """Raise unless the database takes a write now: who cannot write cannot beat either."""
    with transaction.atomic():
        Stream.objects.filter(pk=uuid.UUID(int=0)).update(beat=RELEASED)

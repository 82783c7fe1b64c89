"""`manage.py sweepstreams`: end what a dead process left open, without a server."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand

from streaming.actions import end_stream
from streaming.claims import Found, Sweeper, claim_abandoned
from streaming.conf import conf
from streaming.exceptions import UnknownGenerator
from streaming.generators import get_generator
from streaming.models import EndReason, Status, Stream


class Command(BaseCommand):
    help = (
        "Watches the open streams for STREAMING_ABANDONED_SECONDS (10). A stream whose writer gave "
        "no heartbeat meanwhile is ended as `timeout` and keeps its text, unless a server can run "
        "it again: nothing was written yet, or its generator carries on after what was. End hooks "
        "that failed are tried again. Running servers do all this themselves; nothing is generated "
        "here."
    )

    def handle(self, **options: Any) -> None:
        found = watch()
        ended = sum(end_abandoned(*stream) for stream in found.abandoned)
        left = len(found.abandoned) - ended + len(found.startable)
        self.stdout.write(f"{ended} streams were ended, {left} are left to the next server.")


def watch() -> Found:
    """What the last round found after watching for as long as a silence must be to count."""
    sweeper = Sweeper()
    # A little longer, so that the last round is certain to see the whole silence.
    deadline = time.monotonic() + conf.ABANDONED_SECONDS * 1.05
    found = sweeper.round()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(conf.SWEEP_SECONDS, left))
        found = sweeper.round()
    return found


def end_abandoned(stream_id: Any, epoch: int, beat: int) -> bool:
    """End a silent stream that no server can run again; False when it is not such a one."""
    stream = Stream.objects.filter(pk=stream_id).first()
    if stream is None or is_runnable(stream):
        return False
    claimed = claim_abandoned(stream_id, epoch, beat)
    if claimed is None:
        return False
    if claimed.is_open:
        return bool(end_stream(stream_id, Status.TIMEOUT, EndReason.LOST, epoch=claimed.epoch))
    # The claim was one too many and has ended it.
    return True


def is_runnable(stream: Stream) -> bool:
    """Whether a server that takes the stream over can bring it to its own end."""
    try:
        generator = get_generator(stream.generator)
    except UnknownGenerator:
        return False
    return generator.may_run(stream)

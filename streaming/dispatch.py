"""Who calls `run_stream`, by STREAMING_RUNNER.

`embedded`: the supervisor of the process that creates the stream, or another's sweep.
`procrastinate`: a job of that PostgreSQL queue, deferred in the creating transaction and run by a
worker. `off`: whoever else works on this database.

A job is only a wish: its claim decides, and a refused one is a success. Jobs take no lock, so that
one of a dead worker holds up nobody; a queueing lock keeps two for the same claim from waiting.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import OperationalError, transaction

from .conf import conf
from .models import Stream

if TYPE_CHECKING:
    from procrastinate import App

    from .claims import Found

TASK = "streaming.run_stream"
QUEUE = "streaming"
# Ahead of every new stream: somebody is looking at half an answer.
PRIORITY_AGAIN = 1
MIN_PRIORITY = -1_000


def request_start(stream: Stream) -> None:
    """Ask for a pending stream to run; in the transaction that requests its start."""
    if conf.RUNNER == "procrastinate":
        _defer(stream.pk, priority=_priority(stream.owner_id))
    else:
        # Robust: the start is stored, so a sweep finds the stream if this call fails.
        transaction.on_commit(lambda: _tell_supervisor(stream), robust=True)


def request_again(stream_id: UUID, epoch: int, beat: int) -> None:
    """Ask for a stream to be taken over from the writer that let it go at (epoch, beat)."""
    if conf.RUNNER == "procrastinate":
        _defer(stream_id, (epoch, beat), priority=PRIORITY_AGAIN)


def redispatch(found: Found) -> None:
    """Defer jobs for what a sweep found, unless they are waiting already."""
    claims_due: dict[UUID, tuple[int, int] | None] = dict.fromkeys(
        stream_id for stream_id, _ in found.startable
    )
    claims_due |= {stream_id: (epoch, beat) for stream_id, epoch, beat in found.abandoned}
    if not claims_due:
        return
    owners = dict(found.startable)
    waiting = _waiting([_queueing_lock(*one) for one in claims_due.items()])
    for stream_id, seen in claims_due.items():
        if _queueing_lock(stream_id, seen) not in waiting:
            priority = PRIORITY_AGAIN if seen else _priority(owners[stream_id])
            _defer(stream_id, seen, priority=priority)


def _tell_supervisor(stream: Stream) -> None:
    from .supervisor import running_supervisor

    supervisor = running_supervisor()
    if supervisor is not None:
        supervisor.request_threadsafe(stream.pk, stream.owner_id)


# --- Jobs


def _defer(stream_id: UUID, seen: tuple[int, int] | None = None, *, priority: int) -> None:
    """Store a job that claims the stream: as pending, or as abandoned at the (epoch, beat) seen."""
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

    job = _app().configure_task(
        TASK, queue=QUEUE, queueing_lock=_queueing_lock(stream_id, seen), priority=priority
    )
    try:
        # A savepoint: the queueing lock is a unique index, and its refusal an error of PostgreSQL.
        with transaction.atomic():
            job.defer(stream_id=str(stream_id), seen=list(seen) if seen else None)
    except AlreadyEnqueued:
        pass
    except ConnectorException as error:
        # Django's name for it, which callers know: while the database is away a page answers 503.
        raise OperationalError(str(error.__cause__ or error)) from error


def _priority(owner_id: Any) -> int:
    """Fairness between owners: the more open streams one has, the later the next one's turn."""
    if owner_id is None:
        return 0
    others = Stream.objects.open().filter(owner=owner_id).count() - 1
    return max(MIN_PRIORITY, -others)


def _queueing_lock(stream_id: UUID, seen: tuple[int, int] | None) -> str:
    return f"{stream_id}:{seen[0] if seen else 0}"


def _waiting(locks: list[str]) -> set[str]:
    from procrastinate.contrib.django.models import ProcrastinateJob

    waiting = ProcrastinateJob._default_manager.filter(status="todo", queueing_lock__in=locks)
    return set(waiting.values_list("queueing_lock", flat=True))


@cache
def _app() -> App:
    """An app that defers over Django's connection, also in a worker, whose own app has another."""
    from procrastinate import App, BaseConnector
    from procrastinate.contrib.django.django_connector import DjangoConnector

    connector: BaseConnector = DjangoConnector()
    return App(connector=connector)

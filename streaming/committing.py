"""The journal's thread: commits one batch at a time, and retries it until its outcome is known.

A busy or lost database is waited for. One that answers but has no room is waited for only a little:
then the text at hand is given up, so that its generators stop, and the ends are asked for again
until they can be stored.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.utils import InterfaceError, InternalError

from . import appending
from .appending import Append, Outcome
from .exceptions import is_storage_failure, log_failure
from .models import Stream
from .writer import STORAGE_FAILED, End

logger = logging.getLogger(__name__)

# Busy, deadlock, connection lost: the batch may succeed later, unchanged.
TRANSIENT_ERRORS = (OperationalError, InterfaceError, InternalError)
JOURNAL_BUSY_SECONDS = 20
RETRY_SECONDS = 0.5
# A disk that is full may have room again in a moment; after that what cannot be stored ends.
STORAGE_PATIENCE_SECONDS = 3.0


class NoRoom(Exception):
    """The database has been unable to store anything for longer than anybody waits."""


@dataclass
class Batch:
    """One unit for the thread."""

    appends: list[Append] = field(default_factory=list)
    # (stream id, epoch, what)
    ends: list[tuple[UUID, int, End]] = field(default_factory=list)
    # (stream id, epoch) of live writers, when the heartbeat or the check is due.
    beats: list[tuple[UUID, int]] = field(default_factory=list)
    checks: list[tuple[UUID, int]] = field(default_factory=list)
    on_appended: Callable[[dict[UUID, Outcome]], None] = lambda outcomes: None
    on_done: Callable[[dict[UUID, Stream | None], set[UUID]], None] = lambda ends, fenced: None


class Committer:
    """See the module. Answers to batches are called on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stopping = False
        # Since when nothing could be stored, by the monotonic clock; the thread's own.
        self._full_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="streaming-journal", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        self._queue.put(batch)

    async def stop(self, timeout: float) -> None:
        """End the thread after the batch in flight; wait for it at most `timeout` seconds."""
        self._stopping = True
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join, timeout)

    def _run(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                try:
                    self._commit(batch)
                except Exception as error:
                    # The journal must outlive whatever one batch brings; its text is kept.
                    log_failure(logger, error, "A batch of the journal failed; it is tried again")
                    connection.close()
                    if not self._stopping:
                        time.sleep(RETRY_SECONDS)
                    self._tell(batch.on_done, {}, set())
        finally:
            connection.close()

    def _commit(self, batch: Batch) -> None:
        outcomes = self._append(batch.appends) if batch.appends else {}
        if outcomes:
            self._tell(batch.on_appended, outcomes)
        settled = [
            end
            for end in batch.ends
            # An end waits until all text before it is committed.
            if outcomes.get(end[0], Outcome.ACCEPTED) is Outcome.ACCEPTED
        ]
        ends = self._end(settled) if settled else {}
        fenced: set[UUID] = set()
        if batch.beats:
            with suppress(NoRoom):
                self._retry(appending.beat, batch.beats)
        if batch.checks:
            gone = {stream_id for stream_id, _, _ in batch.ends}
            held = [pair for pair in batch.checks if pair[0] not in gone]
            fenced = self._retry(appending.fenced, held)
        if connection.vendor != "sqlite":
            connection.close()
        self._tell(batch.on_done, ends, fenced)

    def _append(self, appends: list[Append]) -> dict[UUID, Outcome]:
        try:
            return self._retry(appending.append, appends)
        except NoRoom:
            return {one.stream_id: Outcome.UNSTORABLE for one in appends}

    def _end(self, ends: list[tuple[UUID, int, End]]) -> dict[UUID, Stream | None]:
        """End all, or without room as many as possible and with as little to store as possible.

        The others' writers ask again.
        """
        try:
            return self._retry(_end_all, ends)
        except NoRoom:
            pass
        ended: dict[UUID, Stream | None] = {}
        try:
            for one in ends:
                ended |= self._retry(_end_barely, [one])
        except NoRoom:
            # Nobody else can store anything either.
            time.sleep(RETRY_SECONDS)
        return ended

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *args)

    def _retry(self, function: Callable[[list[Any]], Any], items: list) -> Any:
        """Call until the database answers; busy, deadlock and connection errors pass by.

        Raises NoRoom when it has answered for too long that it cannot store anything.
        """
        delay = 0.05
        while True:
            try:
                _be_patient()
                answer = function(items)
            except TRANSIENT_ERRORS as error:
                logger.warning("The journal waits for the database: %s", error)
                connection.close()
                if self._stopping:
                    raise
                patience = self._patience() if is_storage_failure(error) else delay
                if patience <= 0:
                    raise NoRoom from error
                time.sleep(min(delay, patience))
                delay = min(1.0, delay * 2)
            else:
                if function is not appending.fenced:
                    self._full_since = None
                return answer

    def _patience(self) -> float:
        """Seconds for which a database without room is still waited for."""
        if self._full_since is None:
            self._full_since = time.monotonic()
            _empty_the_log()
        return self._full_since + STORAGE_PATIENCE_SECONDS - time.monotonic()


def _be_patient() -> None:
    """The journal waits longer for SQLite's lock than a request does, and before all of them."""
    if connection.vendor == "sqlite" and connection.connection is None:
        connection.goes_first = True  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {JOURNAL_BUSY_SECONDS * 1000}")


def _empty_the_log() -> None:
    """Give back the room of SQLite's write-ahead log: what is in it has its place in the file."""
    if connection.vendor == "sqlite":
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _end_all(ends: Sequence[tuple[UUID, int, End]]) -> dict[UUID, Stream | None]:
    """End all in one transaction or, if one cannot be stored, each alone and that one as failed."""
    try:
        return _end_together(ends)
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:
        if len(ends) == 1:
            ((stream_id, epoch, end),) = ends
            log_failure(logger, error, "The end of stream %s cannot be stored", stream_id)
            if end is STORAGE_FAILED:
                raise
            return _end_together([(stream_id, epoch, STORAGE_FAILED)])
        return {key: row for one in ends for key, row in _end_all([one]).items()}


def _end_barely(ends: Iterable[tuple[UUID, int, End]]) -> dict[UUID, Stream | None]:
    return _end_together(ends, hand_over=False)


def _end_together(
    ends: Iterable[tuple[UUID, int, End]], *, hand_over: bool = True
) -> dict[UUID, Stream | None]:
    from .actions import end_stream

    with transaction.atomic():
        return {
            stream_id: end_stream(
                stream_id,
                end.status,
                end.reason,
                end.detail,
                epoch=epoch,
                result=end.result,
                hand_over=hand_over,
            )
            for stream_id, epoch, end in ends
        }

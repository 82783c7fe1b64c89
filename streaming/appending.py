"""The log's writes as single statements over many streams: append, beat, fenced.

Append is a compare-and-set: the row must be open, of the writer's epoch, and of length == start.
Refusal is data, not an exception.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from .models import Chunk, Status, Stream

# The text itself, or the place it should have, is what the database refuses.
UNSTORABLE_ERRORS = (DataError, IntegrityError, UnicodeEncodeError)


class Append(NamedTuple):
    """Text of one stream to commit at offset `start`."""

    stream_id: UUID
    epoch: int
    start: int
    text: str


class Outcome(enum.Enum):
    ACCEPTED = "accepted"
    # Ended, claimed by a newer writer, or not at this offset.
    REFUSED = "refused"
    # The row is locked just now: the same append goes into the next tick.
    SKIPPED = "skipped"
    # The database refuses this very text.
    UNSTORABLE = "unstorable"


def append(appends: Sequence[Append]) -> dict[UUID, Outcome]:
    """Commit what may be committed, all in one transaction; the outcome of each.

    Raises OperationalError and its like when the outcome is not known: call again, unchanged.
    """
    try:
        return _append(appends)
    except UNSTORABLE_ERRORS:
        # One of them is poisoned: each alone, so that only that one fails.
        outcomes = {}
        for one in appends:
            try:
                outcomes.update(_append([one]))
            except UNSTORABLE_ERRORS:
                outcomes[one.stream_id] = Outcome.UNSTORABLE
        return outcomes


def _append(appends: Sequence[Append]) -> dict[UUID, Outcome]:
    with transaction.atomic():
        accepted = _advance(appends)
        now = timezone.now()
        _insert([one for one in appends if one.stream_id in accepted], now)
    outcomes = dict.fromkeys(accepted, Outcome.ACCEPTED)
    if len(accepted) < len(appends):
        outcomes |= _classify([one for one in appends if one.stream_id not in accepted])
    return outcomes


def _advance(appends: Sequence[Append]) -> set[UUID]:
    """Move the length of each row that fits; the ids of those."""
    table = connection.ops.quote_name(Stream._meta.db_table)
    now = timezone.now()
    if connection.vendor == "postgresql":
        sql = f"""
            WITH batch AS (
                SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[])
                    AS batch(stream_id, epoch, start, size)
            ), free AS (
                SELECT stream.id FROM {table} stream
                WHERE stream.id = ANY(%s::uuid[]) FOR UPDATE SKIP LOCKED
            )
            UPDATE {table} AS stream
            SET length = batch.start + batch.size,
                first_text_at = COALESCE(stream.first_text_at, %s)
            FROM batch JOIN free ON free.id = batch.stream_id
            WHERE stream.id = batch.stream_id AND stream.status = %s
                AND stream.epoch = batch.epoch AND stream.length = batch.start
            RETURNING stream.id
        """
        ids = [one.stream_id for one in appends]
        parameters: list[Any] = [
            ids,
            [one.epoch for one in appends],
            [one.start for one in appends],
            [len(one.text) for one in appends],
            ids,
            now,
            Status.STREAMING.value,
        ]
    else:
        rows = ", ".join(["(%s, %s, %s, %s)"] * len(appends))
        sql = f"""
            WITH batch(stream_id, epoch, start, size) AS (VALUES {rows})
            UPDATE {table} AS stream
            SET length = batch.start + batch.size,
                first_text_at = COALESCE(stream.first_text_at, %s)
            FROM batch
            WHERE stream.id = batch.stream_id AND stream.status = %s
                AND stream.epoch = batch.epoch AND stream.length = batch.start
            RETURNING id
        """
        parameters = [
            value
            for one in appends
            for value in (one.stream_id.hex, one.epoch, one.start, len(one.text))
        ]
        parameters += [connection.ops.adapt_datetimefield_value(now), Status.STREAMING.value]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return {_as_uuid(row[0]) for row in cursor.fetchall()}


def _insert(appends: Sequence[Append], now: Any) -> None:
    if not appends:
        return
    table = connection.ops.quote_name(Chunk._meta.db_table)
    columns = "(stream_id, start, text, epoch, created_at)"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"INSERT INTO {table} {columns} SELECT * FROM unnest("
                "%s::uuid[], %s::bigint[], %s::text[], %s::bigint[], %s::timestamptz[])",
                [
                    [one.stream_id for one in appends],
                    [one.start for one in appends],
                    [one.text for one in appends],
                    [one.epoch for one in appends],
                    [now] * len(appends),
                ],
            )
        else:
            created_at = connection.ops.adapt_datetimefield_value(now)
            cursor.executemany(
                f"INSERT INTO {table} {columns} VALUES (%s, %s, %s, %s, %s)",
                [
                    (one.stream_id.hex, one.start, one.text, one.epoch, created_at)
                    for one in appends
                ],
            )


def _classify(appends: Iterable[Append]) -> dict[UUID, Outcome]:
    """Why an append did not take: settled by an earlier try, locked just now, or refused."""
    appends = list(appends)
    rows = {
        row.pk: row
        for row in Stream.objects.filter(pk__in=[one.stream_id for one in appends]).only(
            "status", "epoch", "length"
        )
    }
    outcomes = {}
    for one in appends:
        row = rows.get(one.stream_id)
        if row is None:
            outcomes[one.stream_id] = Outcome.REFUSED
        elif row.status == Status.STREAMING and row.epoch == one.epoch and row.length == one.start:
            outcomes[one.stream_id] = Outcome.SKIPPED
        elif row.length >= one.start + len(one.text) and _is_stored(one):
            # The commit of an earlier try succeeded though its answer was lost.
            outcomes[one.stream_id] = Outcome.ACCEPTED
        else:
            outcomes[one.stream_id] = Outcome.REFUSED
    return outcomes


def _is_stored(one: Append) -> bool:
    return Chunk.objects.filter(
        stream_id=one.stream_id, start=one.start, epoch=one.epoch, text=one.text
    ).exists()


def beat(held: Sequence[tuple[UUID, int]]) -> None:
    """Raise the heartbeat of these (stream, epoch) pairs, in one statement.

    Not of a stream that was released (its beat is 0) while this was on its way.
    """
    table = connection.ops.quote_name(Stream._meta.db_table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"""
                UPDATE {table} AS stream SET beat = stream.beat + 1
                FROM unnest(%s::uuid[], %s::bigint[]) AS held(stream_id, epoch)
                WHERE stream.id = held.stream_id AND stream.epoch = held.epoch
                    AND stream.status = %s AND stream.beat > 0
                """,
                [[pair[0] for pair in held], [pair[1] for pair in held], Status.STREAMING.value],
            )
        else:
            rows = ", ".join(["(%s, %s)"] * len(held))
            cursor.execute(
                f"""
                WITH held(stream_id, epoch) AS (VALUES {rows})
                UPDATE {table} AS stream SET beat = stream.beat + 1
                FROM held
                WHERE stream.id = held.stream_id AND stream.epoch = held.epoch
                    AND stream.status = %s AND stream.beat > 0
                """,
                [value for pair in held for value in (pair[0].hex, pair[1])]
                + [Status.STREAMING.value],
            )


def fenced(held: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """Those of the (stream, epoch) pairs whose writer may write no more."""
    epochs = dict(
        Stream.objects.filter(
            pk__in=[stream_id for stream_id, _ in held], status=Status.STREAMING
        ).values_list("pk", "epoch")
    )
    return {stream_id for stream_id, epoch in held if epochs.get(stream_id) != epoch}


def _as_uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)

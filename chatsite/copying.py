"""All rows of one database into another of either kind: in pages, resumable, and proved by hashes.

A table in the target notes how far each table is, in the transaction of each page; it goes when the
copy is proved. So a copy that was killed goes on where it stood, and a target that holds anything
without that table is somebody else's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections, models, transaction
from django.db.models import Q

SOURCE, TARGET = "source", "target"
NOTES = "chatsite_copydatabase"
# The queue of jobs belongs to its database: what is due is found by the servers' sweep.
LEFT_OUT_APPS = {"procrastinate"}
# What `migrate` puts into an empty database; the source's own take their place.
MADE_BY_MIGRATE: tuple[type[models.Model], ...] = (Permission, ContentType)

Table = type[models.Model]
Told = Callable[[int], object]


def tables() -> list[Table]:
    """All tables of all apps, each after those that its required keys point to."""
    waiting = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed
        and not model._meta.proxy
        and model._meta.app_label not in LEFT_OUT_APPS
    ]
    ordered: list[Table] = []
    while waiting:
        free = [one for one in waiting if not _required(one) & set(waiting) - {one}]
        # Of those the ones that wait for nothing at all, as long as there are any.
        best = [one for one in free if not _pointed_at(one) & set(waiting) - {one}] or free[:1]
        ordered += best
        waiting = [one for one in waiting if one not in best]
    return ordered


def late_fields(ordered: Sequence[Table]) -> dict[Table, list[models.ForeignKey]]:
    """Keys that point to rows which are copied later, or with them: set when all rows are there."""
    late = {}
    for number, model in enumerate(ordered):
        later = set(ordered[number:])
        if fields := [one for one in _keys(model) if one.remote_field.model in later]:
            late[model] = fields
    return late


def _keys(model: Table) -> list[models.ForeignKey]:
    return [one for one in model._meta.concrete_fields if isinstance(one, models.ForeignKey)]


def _pointed_at(model: Table) -> set[Table]:
    return {one.remote_field.model for one in _keys(model)}


def _required(model: Table) -> set[Table]:
    return {one.remote_field.model for one in _keys(model) if not one.null}


# --- Where a copy stands


def has_notes() -> bool:
    """Whether a copy into this target was begun and not finished."""
    return NOTES in connections[TARGET].introspection.table_names()


def begin(source_name: str) -> None:
    """Make the notes of a new copy, and room for the source's own rows of Django's making."""
    with transaction.atomic(TARGET), connections[TARGET].cursor() as cursor:
        cursor.execute(f"CREATE TABLE {NOTES} (step varchar(200) PRIMARY KEY, last text NOT NULL)")
        cursor.execute(f"INSERT INTO {NOTES} VALUES (%s, %s)", ["source", source_name])
        for model in MADE_BY_MIGRATE:
            model._base_manager.using(TARGET).all().delete()


def finish() -> None:
    """Forget the notes: the copy is whole."""
    with connections[TARGET].cursor() as cursor:
        cursor.execute(f"DROP TABLE {NOTES}")


def last_of(step: str) -> str | None:
    with connections[TARGET].cursor() as cursor:
        cursor.execute(f"SELECT last FROM {NOTES} WHERE step = %s", [step])
        row = cursor.fetchone()
    return row[0] if row else None


def _note(step: str, last: Any) -> None:
    with connections[TARGET].cursor() as cursor:
        cursor.execute(f"DELETE FROM {NOTES} WHERE step = %s", [step])
        cursor.execute(f"INSERT INTO {NOTES} VALUES (%s, %s)", [step, str(last)])


def strangers(ordered: Iterable[Table]) -> list[str]:
    """Names of the target's tables that hold rows which `migrate` did not make."""
    return [
        model._meta.db_table
        for model in ordered
        if model not in MADE_BY_MIGRATE and model._base_manager.using(TARGET).exists()
    ]


# --- Copying


def count(model: Table) -> int:
    return model._base_manager.using(SOURCE).count()


def copy_rows(model: Table, late: Sequence[models.ForeignKey], page_rows: int, tell: Told) -> None:
    """Copy the table's rows from where it stands, without the late keys that may be empty."""
    fields = model._meta.local_concrete_fields
    step = model._meta.label
    for page in _pages(model, Q(), last_of(step), page_rows):
        for row in page:
            for field in late:
                setattr(row, field.attname, None)
        size = connections[TARGET].ops.bulk_batch_size(fields, page)
        with transaction.atomic(TARGET):
            for at in range(0, len(page), size):
                # Raw, as Django's loaders do: no field fills itself in (`auto_now_add`).
                model._base_manager.using(TARGET)._insert(  # type: ignore[attr-defined]
                    page[at : at + size], fields=fields, using=TARGET, raw=True
                )
            _note(step, page[-1].pk)
        tell(len(page))


def copy_links(model: Table, late: Sequence[models.ForeignKey], page_rows: int, tell: Told) -> None:
    """Set the late keys of the table's rows, from where that stands."""
    step = f"{model._meta.label} links"
    names = [field.name for field in late]
    has_any = Q(*((f"{name}__isnull", False) for name in names), _connector=Q.OR)
    for page in _pages(model, has_any, last_of(step), page_rows):
        with transaction.atomic(TARGET):
            model._base_manager.using(TARGET).bulk_update(page, names, batch_size=200)
            _note(step, page[-1].pk)
        tell(len(page))


def _pages(model: Table, chosen: Q, last: str | None, page_rows: int) -> Iterator[list[Any]]:
    """Rows of the source by their key, in the source's order of it."""
    rows = model._base_manager.using(SOURCE).filter(chosen).order_by("pk")
    page = list((rows.filter(pk__gt=last) if last is not None else rows)[:page_rows])
    while page:
        yield page
        page = list(rows.filter(pk__gt=page[-1].pk)[:page_rows])


def reset_sequences(ordered: Sequence[Table]) -> None:
    """New rows of the target get keys behind those that were copied."""
    connection = connections[TARGET]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), list(ordered)):
            cursor.execute(statement)


# --- Proof


def digest(model: Table, alias: str) -> tuple[int, str]:
    """(rows, hash) of a table: the same on both sides if and only if all rows are.

    The sum of the rows' SHA-256, since the two databases may sort text keys differently.
    """
    fields = model._meta.local_concrete_fields
    rows = total = 0
    for row in model._base_manager.using(alias).order_by().iterator(chunk_size=500):
        values = [_canonical(getattr(row, field.attname)) for field in fields]
        form = json.dumps(values, sort_keys=True).encode()
        total += int.from_bytes(hashlib.sha256(form).digest(), "big")
        rows += 1
    return rows, f"{total % 2**256:064x}"


def _canonical(value: Any) -> Any:
    """The value as JSON that says the same of both databases."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if value is None or isinstance(value, (str, int, float, bool, list, dict)):
        return value
    return str(value)

"""Jobs and the transactions that defer them; run on PostgreSQL by `test_postgresql.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction

from streaming import actions, claims, dispatch, generators
from streaming.claims import Found
from streaming.generators import generator
from streaming.models import Status, Stream

from .rows import end, write_nothing

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        not apps.is_installed("procrastinate.contrib.django"),
        reason="Needs STREAMING_RUNNER=procrastinate and its PostgreSQL",
    ),
]


@pytest.fixture(autouse=True)
def procrastinate(settings) -> Iterator[None]:
    settings.STREAMING_RUNNER = "procrastinate"
    generator("tests.nothing")(write_nothing)
    yield
    generators._registry.pop("tests.nothing")


def jobs() -> list[tuple[str, list[int] | None, str]]:
    """(stream, the (epoch, beat) of an abandoned one, status) of each job, oldest first."""
    rows = query("SELECT args, status::text FROM procrastinate_jobs ORDER BY id")
    parsed = [(json.loads(args), status) for args, status in rows]
    return [(args["stream_id"], args["seen"], status) for args, status in parsed]


def fetch() -> str | None:
    """The next job's stream, as a worker takes it; its job stays `doing`."""
    ((stream,),) = query("SELECT args->>'stream_id' FROM procrastinate_fetch_job_v2(NULL, NULL)")
    return stream


def query(sql: str) -> Sequence[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_a_job_is_deferred_in_the_creating_transaction() -> None:
    with transaction.atomic():
        actions.create("tests.nothing")
        assert len(jobs()) == 1
        transaction.set_rollback(True)
    assert jobs() == []
    stream = actions.create("tests.nothing")
    assert jobs() == [(str(stream.pk), None, "todo")]


def test_a_manual_start_defers_its_job_once() -> None:
    stream = actions.create("tests.nothing", autostart=False)
    assert jobs() == []
    assert actions.start(stream)
    assert not actions.start(stream)
    assert len(jobs()) == 1


def test_a_job_that_waits_already_breaks_no_transaction() -> None:
    stream = actions.create("tests.nothing", autostart=False)
    with transaction.atomic():
        dispatch.request_again(stream.pk, 1, 5)
        dispatch.request_again(stream.pk, 1, 6)
        assert Stream.objects.filter(pk=stream.pk).exists()
    assert jobs() == [(str(stream.pk), [1, 5], "todo")]


def test_the_sweep_dispatches_what_no_waiting_job_will_start() -> None:
    stream = actions.create("tests.nothing")
    found = Found(startable=[(stream.pk, None)])
    dispatch.redispatch(found)
    assert len(jobs()) == 1
    # A worker took the job and died: `doing` for ever, and in nobody's way.
    assert fetch() == str(stream.pk)
    dispatch.redispatch(found)
    assert [status for *_, status in jobs()] == ["doing", "todo"]
    assert fetch() == str(stream.pk)


def test_an_abandoned_stream_is_dispatched_before_every_new_one() -> None:
    new, half = actions.create("tests.nothing"), actions.create("tests.nothing", autostart=False)
    dispatch.redispatch(Found(abandoned=[(half.pk, 1, 7)]))
    assert jobs()[-1] == (str(half.pk), [1, 7], "todo")
    assert [fetch(), fetch(), fetch()] == [str(half.pk), str(new.pk), None]


def test_a_hand_over_defers_its_job_and_a_fenced_writer_none() -> None:
    stream = actions.create("tests.nothing", autostart=False)
    Stream.objects.filter(pk=stream.pk).update(status=Status.STREAMING, epoch=2, beat=9)
    claims.release(Stream(pk=stream.pk, epoch=1))
    assert jobs() == []
    claims.release(Stream(pk=stream.pk, epoch=2))
    assert jobs() == [(str(stream.pk), [2, claims.RELEASED], "todo")]
    assert claims.claim_abandoned(stream.pk, 2, claims.RELEASED)


def test_the_more_answers_one_has_open_the_later_the_next_ones_turn(owner, stranger) -> None:
    first, second, third = (actions.create("tests.nothing", owner=owner) for _ in range(3))
    other = actions.create("tests.nothing", owner=stranger)
    assert [fetch() for _ in range(4)] == [str(one.pk) for one in (first, other, second, third)]
    for stream in (first, second, third):
        end(stream)
    actions.create("tests.nothing", owner=owner)
    priorities = query("SELECT priority FROM procrastinate_jobs ORDER BY id")
    assert priorities == [(0,), (-1,), (-2,), (0,), (0,)]

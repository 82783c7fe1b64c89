from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from streaming import actions, generators, verifying
from streaming.appending import Append, Outcome, append, beat
from streaming.models import Chunk, EndReason, Status, Stream

from .rows import write, write_nothing

pytestmark = pytest.mark.django_db

kept: dict[Any, str] = {}


def keep(stream: Stream, text: str) -> None:
    kept[stream.pk] = text


@pytest.fixture(autouse=True)
def short_times(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STREAMING_ABANDONED_SECONDS = 0.2
    monkeypatch.setattr(verifying, "LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(verifying, "PAGE_STREAMS", 2)


@pytest.fixture(autouse=True)
def generator() -> Iterator[None]:
    generators.generator("tests.kept", on_end=keep, kept_text=lambda stream: kept.get(stream.pk))(
        write_nothing
    )
    yield
    generators._registry.pop("tests.kept", None)


@pytest.fixture
def stream() -> Stream:
    """An ended stream of three chunks."""
    return ended("näh", " 🧵 ", "end")


def ended(*texts: str) -> Stream:
    stream = actions.create("tests.kept", autostart=False)
    write(stream, *texts)
    assert actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
    stream.refresh_from_db()
    return stream


def verify(*arguments: str) -> tuple[int, str]:
    """(exit code, output) of the command."""
    out = StringIO()
    try:
        call_command("verifystreams", *arguments, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def last(stream: Stream) -> Chunk:
    chunk = stream.chunks.order_by("start").last()
    assert chunk
    return chunk


# --- What is well


def test_all_pages_of_whole_streams_are_checked(stream: Stream) -> None:
    for _ in range(4):
        ended("x")
    waiting = actions.create("tests.kept", autostart=False)
    assert verify() == (0, "6 streams checked: 0 problems, 0 repaired.\n")
    assert verify(str(stream.pk), str(waiting.pk))[1].startswith("2 streams checked")


def test_a_stream_of_a_removed_generator_is_checked_too(stream: Stream) -> None:
    generators._registry.pop("tests.kept")
    assert verify()[0] == 0
    Chunk.objects.filter(pk=last(stream).pk).update(text="END")
    assert verify()[0] == 1


def test_a_named_stream_that_does_not_exist_is_an_error() -> None:
    assert verify(str(uuid4()))[0] == 1


# --- What cannot be repaired


def lose_a_chunk(stream: Stream) -> None:
    stream.chunks.filter(start=3).delete()


def lose_the_end(stream: Stream) -> None:
    last(stream).delete()


def change_a_letter(stream: Stream) -> None:
    Chunk.objects.filter(pk=last(stream).pk).update(text="eng")


def put_an_older_writer_last(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(epoch=2)
    stream.chunks.filter(start=3).update(epoch=2)


def put_a_writer_of_the_future(stream: Stream) -> None:
    stream.chunks.filter(start=6).update(epoch=9)


def write_behind_the_end(stream: Stream) -> None:
    stream.chunks.create(start=9, text="late", epoch=1, created_at=timezone.now())


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lose_a_chunk, "chunks"),
        (lose_the_end, "hash"),
        (change_a_letter, "hash"),
        (put_an_older_writer_last, "epochs"),
        (put_a_writer_of_the_future, "epochs"),
        (write_behind_the_end, "hash"),
    ],
)
def test_a_loss_is_reported_and_not_papered_over(stream: Stream, spoil: Any, kind: str) -> None:
    spoil(stream)
    before = list(Stream.objects.values()), list(Chunk.objects.values())
    code, output = verify("--repair")
    assert code == 1
    assert f"{stream.pk} {kind}: " in output
    assert (list(Stream.objects.values()), list(Chunk.objects.values())) == before


def test_an_open_stream_that_lacks_text_is_reported() -> None:
    stream = actions.create("tests.kept", autostart=False)
    write(stream, "one", "two")
    last(stream).delete()
    assert f"{stream.pk} length: " in verify("--repair")[1]


# --- What can be repaired


def forget_the_hash(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(sha256="")


def tell_a_wrong_length(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(length=7)


def tell_a_wrong_length_without_a_hash(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(length=70, sha256="")


def keep_another_text(stream: Stream) -> None:
    kept[stream.pk] = "another"


def keep_no_text(stream: Stream) -> None:
    kept[stream.pk] = ""


def leave_the_hook_pending(stream: Stream) -> None:
    keep_no_text(stream)
    Stream.objects.filter(pk=stream.pk).update(hook_pending=True)


@pytest.mark.parametrize(
    "spoil",
    [
        forget_the_hash,
        tell_a_wrong_length,
        tell_a_wrong_length_without_a_hash,
        keep_another_text,
        keep_no_text,
        leave_the_hook_pending,
    ],
)
def test_what_the_chunks_prove_is_repaired_on_demand_alone(stream: Stream, spoil: Any) -> None:
    spoil(stream)
    assert verify()[0] == 1
    assert verify()[0] == 1
    code, output = verify("--repair")
    assert code == 0
    assert f"{stream.pk} repaired: " in output
    stream.refresh_from_db()
    assert stream.length == 9
    assert stream.sha256 == hashlib.sha256("näh 🧵 end".encode()).hexdigest()
    assert not stream.hook_pending
    assert kept[stream.pk] == "näh 🧵 end"
    assert verify()[0] == 0


def test_a_hook_that_fails_again_stays_a_problem(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_another_text(stream)

    def fail(stream: Stream, text: str) -> None:
        raise RuntimeError

    generators.generator("tests.kept", on_end=fail, kept_text=lambda stream: kept[stream.pk])(
        write_nothing
    )
    code, output = verify("--repair")
    assert (code, f"{stream.pk} content: " in output) == (1, True)
    stream.refresh_from_db()
    assert stream.hook_pending


def test_json_is_a_line_for_each_problem_and_one_of_the_totals(stream: Stream) -> None:
    forget_the_hash(stream)
    code, output = verify("--json")
    problem, totals = map(json.loads, output.splitlines())
    assert code == 1
    assert problem["stream"] == str(stream.pk)
    assert (problem["problem"], problem["repaired"]) == ("no_hash", False)
    assert totals == {"checked": 1, "problems": 1, "repaired": 0, "abandoned": []}


# --- What runs meanwhile


def test_a_stream_without_a_heartbeat_is_named_and_is_no_problem() -> None:
    stream = actions.create("tests.kept", autostart=False)
    write(stream, "half")
    code, output = verify()
    assert code == 0
    assert f"{stream.pk} has no heartbeat" in output
    stream.refresh_from_db()
    assert stream.is_open


@pytest.mark.django_db(transaction=True)
def test_streams_that_are_written_and_ended_meanwhile_are_never_reported() -> None:
    over = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not over.is_set():
                stream = actions.create("tests.kept", autostart=False)
                Stream.objects.filter(pk=stream.pk).update(status="streaming", epoch=1, beat=1)
                for start in range(0, 100, 5):
                    outcome = append([Append(stream.pk, 1, start, "12345")])
                    assert outcome == {stream.pk: Outcome.ACCEPTED}
                    beat([(stream.pk, 1)])
                actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        while Stream.objects.ended().count() < 20:
            pks = list(Stream.objects.values_list("pk", flat=True))
            assert [problem for pk in pks for problem in verifying.check(pk)] == []
    finally:
        over.set()
        writer.join()
    assert failures == []


@pytest.mark.django_db(transaction=True)
def test_a_stream_that_is_deleted_meanwhile_is_not_reported(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "LOOK_AGAIN_SECONDS", 0.2)
    lose_a_chunk(stream)
    deletion = threading.Timer(0.05, lambda: (actions.delete(stream), connection.close()))
    deletion.start()
    try:
        assert verifying.check(stream.pk) == []
    finally:
        deletion.join()

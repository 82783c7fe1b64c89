from __future__ import annotations

import threading
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from streaming.actions import end_stream
from streaming.models import Chunk, EndReason, Status, Stream
from tests.streaming.logs import stream_with


def tail(stream: Stream, *arguments: str) -> tuple[str, str]:
    """Standard output and standard error of the command."""
    out, err = StringIO(), StringIO()
    call_command("tailstream", str(stream.pk), *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_it_prints_the_stored_text_and_says_how_it_ended() -> None:
    stream = stream_with("Hello ", "wörld 🌍", status=Status.DONE, reason=EndReason.COMPLETE)
    out, err = tail(stream)
    assert out == "Hello wörld 🌍\n"
    assert err == "done: Complete. 13 characters.\n"


@pytest.mark.django_db
def test_it_starts_at_the_offset_it_is_given_also_inside_a_chunk() -> None:
    stream = stream_with("0123", "4567", status=Status.DONE)
    assert tail(stream, "--from", "2")[0] == "234567\n"
    assert tail(stream, "--from", "8")[0] == "\n"


@pytest.mark.django_db
@pytest.mark.parametrize("offset", ["9", "-1"])
def test_an_offset_that_does_not_exist_is_refused_by_a_sentence(offset: str) -> None:
    stream = stream_with("01234567", status=Status.DONE)
    with pytest.raises(CommandError, match="allowed are 0 to 8"):
        tail(stream, f"--from={offset}")


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.ERROR, Status.TIMEOUT])
def test_a_stream_that_failed_makes_the_exit_code_1(status: Status) -> None:
    stream = stream_with("partial", status=status, reason=EndReason.CUT)
    with pytest.raises(CommandError, match="connection to the provider was lost") as error:
        tail(stream)
    assert error.value.returncode == 1


@pytest.mark.django_db
def test_a_stopped_stream_is_no_error() -> None:
    assert "stopped: Stopped." in tail(stream_with("a", status=Status.STOPPED, reason="user"))[1]


@pytest.mark.django_db
def test_an_unknown_stream_is_named() -> None:
    missing = uuid.uuid4()
    with pytest.raises(CommandError, match=str(missing)):
        call_command("tailstream", str(missing))


class Screen(StringIO):
    """Standard output that says when a text has been printed."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.awaited, self.printed = awaited, threading.Event()

    def write(self, text: str) -> int:
        length = super().write(text)
        if self.awaited in self.getvalue():
            self.printed.set()
        return length


@pytest.mark.django_db(transaction=True)
def test_it_follows_a_stream_that_another_connection_still_writes() -> None:
    stream = stream_with("first ")
    screen, err = Screen("first "), StringIO()
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            call_command("tailstream", str(stream.pk), stdout=screen, stderr=err)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    reader = threading.Thread(target=follow)
    reader.start()
    assert screen.printed.wait(30)
    Chunk.objects.create(
        stream=stream, start=6, text="second", epoch=1, created_at=stream.created_at
    )
    Stream.objects.filter(pk=stream.pk).update(length=12)
    end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
    reader.join(30)
    assert not failures
    assert screen.getvalue() == "first second\n"

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from streaming import actions
from streaming.models import Status, Stream
from streaming.reader import read
from streaming.verifying import check
from tests.streaming.logs import stream_with

pytestmark = pytest.mark.django_db


def compact(*arguments: str) -> str:
    out = StringIO()
    call_command("compactstreams", *arguments, stdout=out)
    return out.getvalue()


def age(stream: Stream, days: int = 31) -> Stream:
    Stream.objects.filter(pk=stream.pk).update(ended_at=timezone.now() - timedelta(days=days))
    return stream


def test_an_old_stream_reads_the_same_from_every_offset() -> None:
    texts = ("näh", " 🧵 ", "end\n")
    stream = age(stream_with(*texts, status=Status.DONE))
    length = len("".join(texts))
    before = [read(stream.pk, offset, at_most=4) for offset in range(length + 1)]
    assert compact() == "1 streams were folded.\n"
    assert stream.chunks.get().text == "".join(texts)
    assert [read(stream.pk, offset, at_most=4) for offset in range(length + 1)] == before
    assert check(stream.pk) == []
    assert compact() == "0 streams were folded.\n"


def test_young_open_and_single_chunk_streams_are_left_alone() -> None:
    age(stream_with("a", "b", status=Status.DONE), days=29)
    stream_with("c", "d")
    age(stream_with("e", status=Status.STOPPED))
    assert compact() == "0 streams were folded.\n"
    assert compact("--older-than-days=28") == "1 streams were folded.\n"


def test_a_dry_run_counts() -> None:
    stream = age(stream_with("a", "b", status=Status.ERROR))
    assert compact("--dry-run") == "1 streams would be folded.\n"
    assert stream.chunks.count() == 2


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_log_that_is_not_whole_is_left_as_evidence(start: int) -> None:
    stream = age(stream_with("a", "b", "c", status=Status.DONE))
    stream.chunks.filter(start=start).delete()
    with pytest.raises(CommandError, match="verifystreams"):
        compact()
    assert stream.chunks.count() == 2


def test_an_open_stream_is_refused_whoever_asks() -> None:
    stream = stream_with("a", "b")
    assert not actions.compact(stream.pk)
    assert stream.chunks.count() == 2

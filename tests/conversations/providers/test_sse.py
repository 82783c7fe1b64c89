"""Server-sent events, in all their legal forms and cut at every byte."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from conversations.providers.base import ProviderError
from conversations.providers.sse import EventParser

CORPUS = "aé€😀\u2028\u0085\x0b\x0c\x1c\x00 \ufeff ß"


def parse(*pieces: bytes) -> list[tuple[str, str]]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\n", [("", "a")]),
        ("data:a\n\n", [("", "a")]),
        ("data:  a\n\n", [("", " a")]),
        ("data: a\ndata: b\n\n", [("", "a\nb")]),
        ("data\n\n", [("", "")]),
        ("data\ndata\n\n", [("", "\n")]),
        ("event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("", "b")]),
        ("event: x\n\ndata: b\n\n", [("", "b")]),
        ("event: x\nevent\ndata: b\n\n", [("", "b")]),
        (": comment\n\ndata: a\n: more\n\n", [("", "a")]),
        ("id: 1\nretry: 5\nunknown: x\ndatax: y\ndata: a\n\n", [("", "a")]),
        ("\ufeffdata: a\n\n", [("", "a")]),
        ("\ufeff\ufeffdata: a\n\ndata: b\n\n", [("", "b")]),
        ("data: a\r\rdata: b\r\n\r\ndata: c\r\n\n", [("", "a"), ("", "b"), ("", "c")]),
        ("\n\n\ndata: a\n\n\n", [("", "a")]),
        ("data: never ended\n", []),
        ("data: never ended", []),
    ],
)
def test_each_legal_form_is_parsed_at_once_and_byte_by_byte(
    stream: str, events: list[tuple[str, str]]
) -> None:
    data = stream.encode()
    assert parse(data) == events
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == events


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_utf_8_may_be_cut_at_every_byte(line_end: str) -> None:
    data = f"data: {CORPUS}{line_end}{line_end}".encode()
    for cut in range(len(data) + 1):
        assert parse(data[:cut], data[cut:]) == [("", CORPUS)]


def test_invalid_bytes_become_replacement_characters_as_the_reference_decoder_says() -> None:
    bad = b"a\xff\xc3(\xe2\x82\xf0\x9f\x98z\xed\xa0\x80"
    expected = bad.decode("utf-8", errors="replace")
    data = b"data: " + bad + b"\n\n"
    for cut in range(len(data) + 1):
        assert parse(data[:cut], data[cut:]) == [("", expected)]


def test_random_cuts_change_nothing() -> None:
    rng = random.Random(7)
    stream = "".join(
        rng.choice(["data: é", "data", ": c", "event: n", ""]) + rng.choice(["\n", "\r", "\r\n"])
        for _ in range(400)
    ).encode()
    whole = parse(stream)
    assert whole
    for _ in range(50):
        cuts = sorted(rng.sample(range(len(stream)), 20))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert parse(*pieces) == whole


def test_a_delta_of_five_mebibytes_passes() -> None:
    text = "x" * 5 * 1024 * 1024
    pieces = [text[at : at + 65_536].encode() for at in range(0, len(text), 65_536)]
    assert parse(b"data: ", *pieces, b"\n\n") == [("", text)]


def test_an_unfinished_line_takes_the_memory_of_its_bytes() -> None:
    # One wide character and many narrow ones: as text each would take four bytes.
    piece = ("😀" + "x" * 65_000).encode()
    parser = EventParser()
    tracemalloc.start()
    try:
        for _ in range(60):
            parser.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 60 * len(piece) * 1.2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"data: " + b"x" * 1_000 + b"\n", b"data\n" * 99])
def test_a_line_or_an_event_without_end_is_refused(piece: bytes) -> None:
    parser = EventParser(event_max_bytes=300_000)
    with pytest.raises(ProviderError) as refused:
        [parser.feed(piece) for _ in range(10_000)]
    assert refused.value.code == "provider"

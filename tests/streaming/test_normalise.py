from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.normalise import Normaliser, normalise

# Characters whose meaning depends on their neighbours, mixed with plain ones.
AWKWARD = st.text(
    st.one_of(st.sampled_from("\r\n\0\ud83d\ude00\udc00\ud800a é字😀"), st.characters()),
    max_size=30,
)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain é 字 😀\n", "plain é 字 😀\n"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("\r\r\n\n", "\n\n\n"),
        ("a\0b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("", ""),
    ],
)
def test_it_gives_every_reader_the_same_form(text: str, stored: str) -> None:
    assert normalise(text) == stored


@given(text=AWKWARD, cuts=st.lists(st.integers(min_value=0), max_size=6))
def test_any_split_gives_the_same_as_one_piece(text: str, cuts: list[int]) -> None:
    normaliser = Normaliser()
    fed = "".join(normaliser.feed(piece) for piece in pieces_of(text, cuts))
    assert fed + normaliser.flush() == normalise(text)


@given(AWKWARD)
def test_what_it_gives_can_be_stored_and_stays_the_same(text: str) -> None:
    stored = normalise(text)
    stored.encode()
    assert "\0" not in stored
    assert "\r" not in stored
    assert normalise(stored) == stored


def test_a_pair_that_two_pieces_share_is_joined() -> None:
    normaliser = Normaliser()
    assert normaliser.feed("a\ud83d") == "a"
    assert normaliser.feed("") == ""
    assert normaliser.feed("\ude00b") == "😀b"


def test_a_line_end_that_two_pieces_share_is_one() -> None:
    normaliser = Normaliser()
    assert normaliser.feed("a\r") == "a"
    assert normaliser.feed("\nb") == "\nb"


def test_flush_gives_what_was_held_back_once() -> None:
    normaliser = Normaliser()
    assert normaliser.feed("\r") == ""
    assert normaliser.flush() == "\n"
    assert normaliser.feed("\ud83d") == ""
    assert normaliser.flush() == "\ufffd"
    assert normaliser.flush() == ""

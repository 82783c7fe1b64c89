"""The checker sees what it is there to see."""

from __future__ import annotations

from conversations.lab.checker import Tally
from conversations.lab.provider import Script
from conversations.lab.watched import Sight, Watched

TOKENS = list(Script(name="s00", tokens=40).pieces())
TEXT = "".join(TOKENS)
WORD = len("s00m0000")


def tally_of(seen: str) -> Tally:
    tally = Tally()
    tally.compare(seen, TEXT, "here")
    return tally


def test_the_same_text_is_clean():
    assert tally_of(TEXT).is_clean


def test_a_lost_word_is_counted():
    tally = tally_of("".join(TOKENS[:10] + TOKENS[11:]))
    assert (tally.lost, tally.doubled, tally.reordered) == (WORD, 0, 0)
    assert not tally.is_clean


def test_a_doubled_word_is_counted():
    tally = tally_of("".join(TOKENS[:11] + TOKENS[10:]))
    assert (tally.lost, tally.doubled, tally.reordered) == (0, WORD, 0)


def test_words_out_of_order_are_counted():
    tally = tally_of("".join([*TOKENS[:10], TOKENS[11], TOKENS[10], *TOKENS[12:]]))
    assert (tally.lost, tally.doubled, tally.reordered) == (0, 0, WORD)


def test_a_character_that_is_no_mark_is_a_problem():
    assert not tally_of(TEXT.replace("é", "e", 1)).is_clean


def test_an_observer_may_not_go_back_or_see_more_after_the_end():
    sight = Sight("tab")
    sight.grow(10)
    sight.grow(8)
    sight.end("done")
    sight.grow(12)
    sight.end("error")
    assert len(sight.problems) == 3


def test_what_is_seen_must_be_stored():
    watched = Watched("s00", None, "/", "", TEXT, 0.0, Script())  # type: ignore[arg-type]
    sight = watched.sight("sse")
    watched.stored_length = lambda stream: 9
    watched.saw(sight, 10)
    assert sight.problems == ["10 code points were seen when 9 were stored"]

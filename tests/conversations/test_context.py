from __future__ import annotations

import pytest

from conversations.context import TooLong, estimate_tokens, fit
from conversations.providers.base import Turn


def turns(*contents: str) -> list[Turn]:
    return [Turn("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(contents)]


def test_everything_stays_where_there_is_room():
    path = turns("one", "two", "three")
    fitted = fit(path, tokens=1_000)
    assert (fitted.turns, fitted.left_out) == (path, 0)


def test_the_oldest_turns_are_left_out_and_the_rest_starts_with_a_user():
    path = turns("a" * 320, "b" * 320, "c" * 320, "d" * 320, "newest")
    fitted = fit(path, tokens=350)
    assert [turn.content[0] for turn in fitted.turns] == ["c", "d", "n"]
    assert fitted.left_out == 2
    # Room for an answer without its question is not used.
    fitted = fit(path, tokens=150)
    assert [turn.content for turn in fitted.turns] == ["newest"]
    assert fitted.left_out == 4


def test_the_newest_message_alone_is_refused_when_it_does_not_fit():
    with pytest.raises(TooLong):
        fit(turns("short", "short", "x" * 1_000), tokens=200)


def test_the_system_prompt_and_the_text_so_far_take_room():
    path = turns("x" * 320)
    assert fit(path, tokens=120).left_out == 0
    with pytest.raises(TooLong):
        fit(path, tokens=120, system="y" * 64)
    with pytest.raises(TooLong):
        fit(path, tokens=120, prefix="y" * 64)


def test_no_turns_are_no_turns():
    assert fit([], tokens=100).turns == []


def test_other_scripts_count_more_than_letters():
    assert estimate_tokens("汉" * 100) > 2 * estimate_tokens("a" * 100)

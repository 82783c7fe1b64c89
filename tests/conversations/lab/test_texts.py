from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.lab.provider import Script
from conversations.lab.texts import MARK, tokens


def test_each_token_has_one_mark_in_order():
    marks = [int(number) for _, number in MARK.findall("".join(tokens("s07", 300)))]
    assert marks == list(range(300))
    assert all(len(MARK.findall(token)) == 1 for token in tokens("s07", 300))


@given(cut=st.integers(0, 2_000))
def test_an_answer_goes_on_after_any_prefix(cut):
    script = Script(name="s07", tokens=100)
    assert script.answer[:cut] + "".join(script.pieces_after(script.answer[:cut])) == script.answer


def test_a_foreign_prefix_is_refused():
    with pytest.raises(ValueError, match="does not begin"):
        list(Script(name="s07").pieces_after("something else"))

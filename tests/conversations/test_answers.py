"""What a model thought and what it says, as one document that grows."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.answers import Answers
from conversations.engines import RustEngine
from conversations.markdown import Markdown
from conversations.reasoning import CLOSING, OPENING, joined, split

from .test_markdown_incremental import FRAGMENTS, check_every_step, check_pages

MARKDOWN = Markdown(RustEngine)
ANSWERS = Answers(MARKDOWN)
# Marks in one piece, in parts, and what only looks like them.
MARKS = [OPENING, CLOSING, "<think>", "</think>", "\n</think>\n", "\n\n", "<", "\n"]
THOUGHTS = [*MARKS, "Hm. ", "Is it so?\n", "word " * 300, "- [a]: x\n", "<b>&"]

marked_texts = st.builds(
    lambda thoughts, closing, answer: OPENING + "".join(thoughts) + closing + "".join(answer),
    st.lists(st.sampled_from(THOUGHTS), max_size=8),
    st.sampled_from([CLOSING, ""]),
    st.lists(st.sampled_from(FRAGMENTS), max_size=15),
)
any_texts = marked_texts | st.lists(st.sampled_from([*MARKS, *FRAGMENTS]), max_size=15).map("".join)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(any_texts, st.integers(0, 2**32), st.sampled_from([1, 5, 40]))
def test_every_step_shows_what_a_fresh_document_shows(text: str, seed: int, longest: int) -> None:
    check_every_step(ANSWERS, text, random.Random(seed), longest)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(any_texts, st.integers(0, 2**32))
def test_a_page_drawn_at_any_moment_is_brought_into_step(text: str, seed: int) -> None:
    check_pages(ANSWERS, text, random.Random(seed))


@given(any_texts)
def test_reasoning_and_answer_make_the_same_text_again(text: str) -> None:
    reasoning, answer = split(text)
    assert joined(reasoning, answer) == text


def test_reasoning_is_shown_as_it_is_and_the_answer_as_markdown() -> None:
    html = ANSWERS.render(joined("Is **it** so?\n\n<b>Yes.</b>", "**It is.**"))
    assert html == (
        '<span class="thought">Is **it** so?\n</span><span class="thought">\n</span>'
        '<span class="thought">&lt;b&gt;Yes.&lt;/b&gt;</span>' + MARKDOWN.render("**It is.**")
    )


def test_the_mark_is_never_shown_while_it_is_incomplete() -> None:
    document, text = ANSWERS.live(OPENING), joined("Hm.", "Yes.")
    for letter in text[len(OPENING) :]:
        document.feed(letter)
        assert "think" not in document.closed_html + document.open_html


@pytest.mark.parametrize("text", ["A <think>\nword\n</think>\n\n", " <think>\nx", "<think>x"])
def test_a_mark_elsewhere_is_text(text: str) -> None:
    assert split(text) == ("", text)
    assert ANSWERS.render(text) == MARKDOWN.render(text)

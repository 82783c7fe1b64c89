from __future__ import annotations

from uuid import uuid4

import pytest

from conversations.forms import MessageForm


def form(content: str, **fields: object) -> MessageForm:
    return MessageForm({"content": content, "key": uuid4(), **fields})


def test_line_ends_become_lf_and_the_ends_are_trimmed():
    message = form("  one\r\ntwo\rthree\n ")
    assert message.is_valid()
    assert message.cleaned_data["content"] == "one\ntwo\nthree"


def test_a_line_end_counts_as_one_character(settings):
    settings.MESSAGE_MAX_CHARS = 3
    assert form("a\r\nb").is_valid()
    assert not form("a\r\n\r\nb").is_valid()


def test_too_long_names_both_numbers(settings):
    settings.MESSAGE_MAX_CHARS = 1_000
    assert form("x" * 1_234).sentence == (
        "The message is too long: 1,234 characters, at most 1,000 are allowed."
    )


@pytest.mark.parametrize("content", ["", " ", "\r\n\t"])
def test_empty_asks_for_a_message(content):
    assert form(content).sentence == "Write a message first."


def test_each_rendering_has_its_own_key():
    message = MessageForm()
    assert message.fresh_key != message.fresh_key

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conversations.providers.base import ChatRequest, Finished, Text, Turn
from conversations.providers.echo import Echo

REPLY = 'I received your message: "Hi {there}". How can I help you further?'


async def events_of(*turns: Turn, prefix: str = "") -> list[Any]:
    return [event async for event in Echo().stream(ChatRequest("echo", turns, prefix=prefix))]


async def test_it_repeats_the_newest_message_one_character_at_a_time() -> None:
    *texts, end = await events_of(
        Turn("user", "First"), Turn("assistant", "Answer"), Turn("user", "Hi {there}")
    )
    assert texts == [Text(character) for character in REPLY]
    assert end == Finished("stop")


async def test_it_greets_who_says_nothing() -> None:
    *texts, _end = await events_of()
    assert "".join(event.text for event in texts) == "Hello! How can I help you today?"


@pytest.mark.parametrize("offset", [0, 1, 30, len(REPLY)])
async def test_it_carries_on_after_what_is_stored(offset: int) -> None:
    *texts, end = await events_of(Turn("user", "Hi {there}"), prefix=REPLY[:offset])
    assert REPLY[:offset] + "".join(event.text for event in texts) == REPLY
    assert end == Finished("stop")


async def test_after_what_another_model_said_it_says_its_own() -> None:
    *texts, _end = await events_of(Turn("user", "Hi {there}"), prefix="The sky is")
    assert "".join(event.text for event in texts) == REPLY


async def test_it_carries_on_after_line_ends_that_the_log_made_one_character() -> None:
    stored = 'I received your message: "a\nb'
    *texts, _end = await events_of(Turn("user", "a\r\nb\rc"), prefix=stored)
    assert "".join(event.text for event in texts) == '\nc". How can I help you further?'


async def test_it_keeps_the_pace(settings: Any) -> None:
    settings.ECHO_DELAY_SECONDS = 0.002
    loop = asyncio.get_running_loop()
    began = loop.time()
    *texts, _end = await events_of()
    assert loop.time() - began >= 0.002 * len(texts)


async def test_it_lets_others_run_also_without_a_delay() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    texts = await events_of()
    other.cancel()
    assert turns >= len(texts) - 1

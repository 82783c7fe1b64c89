"""The tutorial's answer, one character at a time: no model, no key, no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from django.conf import settings

from .base import ChatRequest, Event, Finished, Text

GREETING = "Hello! How can I help you today?"
REPLY = 'I received your message: "{text}". How can I help you further?'


def answer(request: ChatRequest) -> str:
    """The whole answer to the newest user turn; the greeting when there is none."""
    for turn in reversed(request.turns):
        if turn.role == "user":
            # Line ends as the log stores them, so that a prefix of this text can be compared.
            text = turn.content.replace("\r\n", "\n").replace("\r", "\n")
            return REPLY.format(text=text)
    return GREETING


class Echo:
    """Says what it was told, `ECHO_DELAY_SECONDS` between two characters."""

    carries_on = True

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        text = answer(request)
        for character in text.removeprefix(request.prefix):
            yield Text(character)
            # A delay of 0 still lets the loop run something else.
            await asyncio.sleep(settings.ECHO_DELAY_SECONDS)
        yield Finished("stop")

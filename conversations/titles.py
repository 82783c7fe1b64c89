"""A title that the model writes after a chat's first answer; until then it is the first words.

A background step that survives nothing: where it fails, or the process ends, the first words stay.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from uuid import UUID

from django.conf import settings
from django.db import transaction

from streaming.executors import run_generator

from . import providers
from .actions import title_from
from .models import Conversation
from .providers.base import ChatRequest, Text, Turn
from .topics import conversation_changed

TITLE_SECONDS = 20
# So much of each turn says what a chat is about.
TURN_CHARS = 2_000
# For the model, which gets it in whatever language the chat is.
ASK = (
    "Write a title for this conversation: at most six words, in its language, without quotation "
    "marks. Answer with the title alone."
)
# They have no model, or one that is too small to write titles, or a person pays for each request.
UNTITLED = ("echo:", "local:", "own-")
QUOTES = "\"'“”„«»‘’「」『』"

logger = logging.getLogger(__name__)
_tasks: set[asyncio.Task[None]] = set()


def begin(conversation_id: UUID, model: str, prompt: str, answer: str) -> None:
    """Have `model` write the title of a chat of one prompt and one answer; returns at once."""
    if not settings.MODEL_TITLES or model.startswith(UNTITLED):
        return
    task = asyncio.create_task(_write(conversation_id, model, prompt, answer))
    # The loop alone would let it go.
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _write(conversation_id: UUID, model: str, prompt: str, answer: str) -> None:
    try:
        async with asyncio.timeout(TITLE_SECONDS):
            title = await _ask(model, prompt, answer)
        if title:
            await run_generator(store, conversation_id, title_from(prompt), title)
    except Exception as error:
        # Whatever it was, nobody misses it.
        logger.info("Chat %s keeps its first title: %s", conversation_id, type(error).__name__)


async def _ask(model: str, prompt: str, answer: str) -> str:
    provider, name = providers.provider_for(model)
    turns = [
        Turn("user", prompt[:TURN_CHARS]),
        Turn("assistant", answer[:TURN_CHARS]),
        Turn("user", ASK),
    ]
    text = ""
    async with aclosing(provider.stream(ChatRequest(model=name, turns=turns))) as events:
        async for event in events:
            if isinstance(event, Text):
                text += event.text
            if len(text) > TURN_CHARS:
                # Whatever this is, it is no title.
                return ""
    return title_from(title_from(text).strip(QUOTES))


def store(conversation_id: UUID, first_words: str, title: str) -> bool:
    """Replace the title that was made from the first words; False if it is another by now."""
    with transaction.atomic():
        automatic = Conversation.objects.visible().filter(pk=conversation_id, title=first_words)
        if not automatic.update(title=title):
            return False
        conversation_changed(conversation_id)
    return True

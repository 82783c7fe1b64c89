"""A chat as a file: its path as Markdown, its whole tree as JSON. Both in pages of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext as _

from .models import Conversation, Message, Role
from .paths import Tree, messages_of
from .reasoning import split

PAGE_MESSAGES = 100


def markdown_of(conversation: Conversation) -> Iterator[str]:
    """The path that the chat shows: who wrote when (UTC), and the text as it was written.

    Of an answer that runs, what is stored so far.
    """
    yield f"# {' '.join(str(conversation).split())}\n"
    path = Tree.of(conversation.pk).path_to(conversation.leaf_id)
    for message in _in_pages(path):
        who = _("You") if message.role == Role.USER else _("Answer")
        at = f"{message.created_at:%Y-%m-%d %H:%M} UTC"
        facts = " · ".join(fact for fact in (who, message.model, at) if fact)
        yield f"\n## {facts}\n\n{message.body()}\n"


def json_of(conversation: Conversation) -> Iterator[str]:
    """The conversation's fields with `messages`: all of them in the order in which they came.

    `leaf` is the end of the path that the chat shows; `parent` is what a message answers.
    """
    head = {
        "format": 1,
        "id": conversation.pk,
        "title": conversation.title,
        "model": conversation.model,
        "system_prompt": conversation.system_prompt,
        "parameters": conversation.parameters,
        "created_at": conversation.created_at,
        "last_message_at": conversation.last_message_at,
        "leaf": conversation.leaf_id,
    }
    yield _dumps(head)[:-1] + ', "messages": ['
    before = "\n"
    for message in _in_pages(list(Tree.of(conversation.pk).parents)):
        yield before + _dumps(_fields_of(message))
        before = ",\n"
    yield "\n]}\n"


def _fields_of(message: Message) -> dict[str, Any]:
    stream = message.stream
    reasoning, content = split(message.text())
    return {
        "id": message.pk,
        "parent": message.parent_id,
        "role": message.role,
        "content": content,
        "reasoning": reasoning,
        "model": message.model,
        "usage": message.usage,
        "created_at": message.created_at,
        "ended_at": stream.ended_at if stream else None,
        "status": stream.status if stream else None,
        "end_reason": stream.end_reason if stream else None,
        "rating": message.rating,
        "rating_word": message.rating_word,
    }


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder)


def _in_pages(pks: list[int]) -> Iterator[Message]:
    """One query a page, and few messages in memory."""
    for start in range(0, len(pks), PAGE_MESSAGES):
        yield from messages_of(pks[start : start + PAGE_MESSAGES])

"""Search in one person's chats: titles, messages, and the committed text of answers that run.

What is looked for are characters, in any case, wherever they stand in a word; of several words all
must be there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from streaming.models import OPEN_STATUSES, Chunk

from .models import Conversation, Message
from .reasoning import split
from .search_index import MIN_CHARS, TABLE

# More of either kind are not shown: another word finds better than a longer list.
MAX_TITLES = 10
MAX_MESSAGES = 50
EXCERPT_BEFORE = 40
EXCERPT_CHARS = 180
# Markdown that says nothing in one line, unless it is what was looked for.
MARKUP = re.compile(r"\*\*|`+|(?<!\S)(#{1,6}|[-*>]) ")


@dataclass(frozen=True)
class Part:
    """A piece of text, and whether it is what was looked for."""

    text: str
    is_hit: bool


@dataclass(frozen=True)
class Found:
    """A title, or a message with an excerpt around what was looked for."""

    conversation: Conversation
    title: list[Part]
    at: datetime
    url: str
    excerpt: list[Part]


@dataclass(frozen=True)
class Results:
    """What `_search_results.html` draws; titles first, then the newest messages."""

    query: str
    found: list[Found]
    # Whether there are more messages than are shown.
    is_cut: bool


def search(user: Any, query: str) -> Results:
    """What of the user's visible chats has all words of `query`; at most four queries."""
    words = query.split()
    pattern = re.compile("|".join(re.escape(word) for word in _longest_first(words)), re.IGNORECASE)
    with_title = Conversation.objects.owned_by(user).only("title", "last_message_at")
    for word in words:
        with_title = with_title.filter(title__icontains=word)
    titles = [
        Found(
            conversation=one,
            title=_parts(one.title, pattern),
            at=one.last_message_at,
            url=one.get_absolute_url(),
            excerpt=[],
        )
        for one in with_title.order_by("-last_message_at")[:MAX_TITLES]
    ]
    texts = {message.pk: (message, message.content) for message in _stored(user, words)}
    is_cut = len(texts) > MAX_MESSAGES
    for message, text in _running(user):
        if all(re.search(re.escape(word), text, re.IGNORECASE) for word in words):
            texts[message.pk] = (message, text)
    messages = [
        _found_in(message, text, pattern)
        for _pk, (message, text) in sorted(texts.items(), reverse=True)[:MAX_MESSAGES]
    ]
    return Results(query, titles + messages, is_cut)


def _stored(user: Any, words: list[str]) -> list[Message]:
    """The newest messages that have all words, and one more than are shown."""
    messages = _messages_of(user).filter(_has_all(words))
    return list(messages.order_by("-pk")[: MAX_MESSAGES + 1])


def _messages_of(user: Any) -> QuerySet[Message]:
    messages = Message.objects.filter(
        conversation__owner=user.pk, conversation__deleted_at__isnull=True
    )
    return messages.select_related("conversation").only(
        "content", "created_at", "stream", "conversation__title"
    )


def _has_all(words: list[str]) -> Q:
    if connection.vendor != "sqlite":
        # Their index is of what `icontains` asks for.
        return Q(*(_contains(word) for word in words))
    long = [word for word in words if len(word) >= MIN_CHARS]
    condition = Q(*(_contains(word) for word in words if len(word) < MIN_CHARS))
    if long:
        strings = " AND ".join('"{}"'.format(word.replace('"', '""')) for word in long)
        matches = f"SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH %s"
        condition &= Q(pk__in=RawSQL(matches, [strings]))
    return condition


def _contains(word: str) -> tuple[str, str]:
    # A short word without case, as Korean ones are, spares PostgreSQL to fold all text it reads.
    is_folded = len(word) >= MIN_CHARS or word.upper() != word.lower()
    return ("content__icontains" if is_folded else "content__contains", word)


def _running(user: Any) -> list[tuple[Message, str]]:
    """Answers whose text is still in their stream alone, with what is committed of it."""
    unfinished = Q(stream__status__in=OPEN_STATUSES) | Q(stream__hook_pending=True)
    # The stream's owner too: their few open streams are found by its index.
    messages = list(_messages_of(user).filter(unfinished, stream__owner=user.pk))
    texts: defaultdict[UUID | None, list[str]] = defaultdict(list)
    if messages:
        chunks = Chunk.objects.filter(stream__in=[message.stream_id for message in messages])
        for stream_id, text in chunks.order_by("stream", "start").values_list("stream", "text"):
            texts[stream_id].append(text)
    return [(message, split("".join(texts[message.stream_id]))[1]) for message in messages]


def _found_in(message: Message, text: str, pattern: re.Pattern[str]) -> Found:
    conversation = message.conversation
    return Found(
        conversation=conversation,
        title=[Part(str(conversation), False)],
        at=message.created_at,
        url=f"{conversation.get_absolute_url()}?at={message.pk}#message-{message.pk}",
        excerpt=_parts(excerpt_of(text, pattern), pattern),
    )


def excerpt_of(text: str, pattern: re.Pattern[str]) -> str:
    """The text around the first hit, in one line, cut at words where there are any."""
    match = pattern.search(text)
    hit = match.start() if match else 0
    start = max(0, hit - EXCERPT_BEFORE)
    if start:
        # Behind the first space; but never behind the hit.
        space = text.find(" ", start, hit)
        start = space + 1 if space >= 0 else start
    end = start + EXCERPT_CHARS
    line = " ".join(text[start:end].split())
    plain = MARKUP.sub("", line)
    if pattern.search(plain):
        line = plain
    return f"{'…' if start else ''}{line}{'…' if end < len(text) else ''}"


def _parts(text: str, pattern: re.Pattern[str]) -> list[Part]:
    parts, at = [], 0
    for match in pattern.finditer(text):
        parts += [Part(text[at : match.start()], False), Part(match[0], True)]
        at = match.end()
    return [part for part in (*parts, Part(text[at:], False)) if part.text]


def _longest_first(words: list[str]) -> list[str]:
    return sorted(words, key=len, reverse=True)

"""What makes a form act once, however often it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from .exceptions import KeyReused
from .models import Conversation, Message, Role, Submission

T = TypeVar("T", "Sent", "Sent | Queued", Message)


@dataclass(frozen=True)
class Sent:
    """What one sent form stored: the prompt, and the newest answer to it."""

    prompt: Message
    answer: Message

    @property
    def conversation(self) -> Conversation:
        return self.prompt.conversation


@dataclass(frozen=True)
class Queued:
    """A follow-up was stored that waits for the end of this answer."""

    answer: Message

    @property
    def conversation(self) -> Conversation:
        return self.answer.conversation


def once(
    user: Any,
    key: UUID,
    body: tuple[str, ...],
    write: Callable[[], T],
    *,
    again: Callable[[Message], T],
) -> T:
    """Run `write` in a transaction for the first submission of `key`.

    Later ones get what `again` makes of the first one's message. The record goes in first: of two
    submissions at once the second one's insert waits for the first transaction, fails, and reads
    what it stored. Raises KeyReused when `body` is not that of the first.
    """
    body_hash = hashlib.sha256("\0".join(body).encode()).hexdigest()
    with transaction.atomic():
        try:
            with transaction.atomic():
                submission = Submission.objects.create(user=user, key=key, body_hash=body_hash)
        except IntegrityError:
            first = Submission.objects.select_related(
                "message__conversation", "message__stream"
            ).get(user=user, key=key)
            if first.body_hash != body_hash or first.message is None:
                raise KeyReused(
                    _("This form was already sent with different text. Send it again.")
                ) from None
            return again(first.message)
        stored = write()
        match stored:
            case Sent():
                submission.message = stored.prompt
            case Queued():
                submission.message = stored.answer
            case Message():
                submission.message = stored
        submission.save(update_fields=["message"])
    return stored


def sent_with(prompt: Message) -> Sent:
    """What was stored with `prompt`."""
    answer = prompt.replies.select_related("stream").order_by("id").first()
    assert answer is not None  # stored in the prompt's own transaction
    return Sent(prompt=prompt, answer=answer)


def sent_or_queued(message: Message) -> Sent | Queued:
    """What was stored with `message`: a prompt was sent, an answer is waited for."""
    return sent_with(message) if message.role == Role.USER else Queued(message)

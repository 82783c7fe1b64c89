from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from conversations import actions, providers
from conversations.models import Message
from conversations.providers.base import ChatRequest, Event, ModelChoice
from tests.conversations.test_actions import finish


class Scripted:
    """A provider that says what a test wrote, and remembers what it was asked."""

    carries_on = True

    def __init__(self, *script: Event | Exception) -> None:
        self.script = script
        self.asked: list[ChatRequest] = []
        self.closed = 0

    async def stream(self, request: ChatRequest) -> AsyncIterator[Event]:
        self.asked.append(request)
        try:
            for event in self.script:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1


@pytest.fixture
def script(monkeypatch):
    """`script(*events, context_tokens=…)` makes a scripted provider answer for every model."""

    def install(*events: Event | Exception, context_tokens: int = 4_096) -> Scripted:
        provider = Scripted(*events)
        choice = ModelChoice("test:model", "Test", "", context_tokens, context_tokens // 4)
        monkeypatch.setattr(providers, "provider_for", lambda model: (provider, "model"))
        monkeypatch.setattr(providers, "choice", lambda model: choice)
        return provider

    return install


@pytest.fixture
def variants(owner) -> list[Message]:
    """Three answers to one prompt, the second with a turn of its own; the third is shown."""
    sent = actions.start_conversation(owner, "One", key=uuid4())
    finish(sent.answer, "First")
    second = actions.retry(sent.answer, key=uuid4())
    finish(second, "Second")
    newest = actions.send_message(second.conversation, "More", key=uuid4())
    finish(newest.answer, "And more")
    third = actions.retry(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    finish(third, "Third")
    return list(Message.objects.filter(pk__in=[sent.answer.pk, second.pk, third.pk]))

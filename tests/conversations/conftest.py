from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from conversations import providers
from conversations.providers.base import ChatRequest, Event, ModelChoice


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

"""A scripted server, short deadlines, and a way to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from conversations.lab.provider import ProviderServer, running
from conversations.providers import catalogue
from conversations.providers.anthropic import Anthropic
from conversations.providers.base import (
    ChatRequest,
    Finished,
    Provider,
    ProviderError,
    Reasoning,
    Text,
    Turn,
    Usage,
)
from conversations.providers.openai import OpenAI

KEY = "sk-canary-key"


@dataclass
class Answer:
    """What one request brought."""

    text: str = ""
    reasoning: str = ""
    usage: Usage | None = None
    finished: str | None = None
    error: ProviderError | None = None
    # How many pieces of text there were.
    pieces: list[str] = field(default_factory=list)


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture(autouse=True)
def short_deadlines(settings: Any) -> None:
    settings.PROVIDER_CONNECT_SECONDS = 5
    settings.PROVIDER_FIRST_TOKEN_SECONDS = 5
    settings.PROVIDER_IDLE_SECONDS = 5
    settings.PROVIDER_TOTAL_SECONDS = 20
    settings.PROVIDER_RETRY_SECONDS = 0.01
    catalogue.forget()


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with running() as server:
        yield server


@pytest.fixture
def providers(server: ProviderServer) -> dict[str, Provider]:
    """Both adapters, at the scripted server."""
    return {
        "openai": OpenAI(server.openai_url, KEY),
        "anthropic": Anthropic(server.anthropic_url, KEY),
    }


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest, providers: dict[str, Provider]) -> Provider:
    return providers[request.param]


@pytest.fixture
def ask() -> Ask:
    """`await ask(provider, model)`: the whole answer, also when it failed."""

    async def ask(
        provider: Provider, model: str = "default", message: str = "Hello", **fields: Any
    ) -> Answer:
        answer = Answer()
        request = ChatRequest(model, [Turn("user", message)], **fields)
        try:
            async with aclosing(provider.stream(request)) as events:
                async for event in events:
                    assert answer.finished is None, "nothing follows the end"
                    match event:
                        case Text():
                            answer.text += event.text
                            answer.pieces.append(event.text)
                        case Reasoning():
                            answer.reasoning += event.text
                        case Usage():
                            answer.usage = event
                        case Finished():
                            answer.finished = event.reason
        except ProviderError as error:
            answer.error = error
        return answer

    return ask

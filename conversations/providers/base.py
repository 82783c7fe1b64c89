"""What every provider speaks: a request in, an async iterator of typed events out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from django.utils.functional import Promise


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the path that is sent: role `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatRequest:
    """What a provider is asked to answer; the newest turn is last and a user's."""

    model: str
    turns: Sequence[Turn]
    system: str = ""
    # temperature, max_tokens; unknown names are ignored by the adapter.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # The answer's text so far, after which to write on; only for providers that carry on.
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer; pieces follow each other without a separator."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers; never part of the answer.

    An empty one is a sign of life: after its first token the provider sent what is no text.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the provider reports them; the last one counts."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider's explicit end: `stop`, `length` or `filter`. Without it the answer was cut."""

    reason: str


Event: TypeAlias = Text | Reasoning | Usage | Finished


class ProviderError(Exception):
    """A provider did not answer, or not to the end.

    `code` is a value of `streaming.models.EndReason` (provider, refused, rate_limit, too_long,
    no_model, cut, idle, deadline); `detail` is a sentence for people, without key, URL or raw body,
    and translated lazily: who reads it is known later.
    """

    def __init__(
        self,
        code: str,
        detail: str | Promise,
        *,
        retry_after: float | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        # The same request may succeed in a moment; adapters try again before the first text.
        self.retry = retry
        # Seconds, as the provider asks for, or None.
        self.retry_after = retry_after


class Provider(Protocol):
    """An adapter to one kind of model server."""

    # Whether `stream` goes on after `ChatRequest.prefix` as if it had not been cut.
    carries_on: bool

    def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer `request`. Closing the iterator closes the provider's connection.

        Raises ProviderError.
        """
        ...


@dataclass(frozen=True)
class ModelChoice:
    """A model a person may pick; `id` is "<provider>:<name>"."""

    id: str
    label: str
    # One short line under the label, for example "tiny demo model, answers are often wrong".
    note: str | Promise = ""
    # Tokens of context and of answer reserve that the model takes.
    context_tokens: int = 4_096
    answer_tokens: int = 1_024

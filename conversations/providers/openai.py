"""Any server that speaks OpenAI's chat completions: OpenAI, Ollama, llama.cpp, vLLM, OpenRouter."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from .base import ChatRequest, Event, Reasoning, Usage
from .catalogue import OPENAI_URL
from .decoding import Decoder, ThinkTags, parse
from .transport import Call, converse

PARAMETERS = frozenset(
    {"temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty", "stop", "seed"}
)
_REASONS = {"length": "length", "content_filter": "filter"}

# Base URLs of servers that refused `stream_options`: they are not asked for usage again.
_without_usage: set[str] = set()


class OpenAI:
    """Adapter to one server; `extra` goes into each request's body."""

    def __init__(
        self,
        base_url: str,
        key: str = "",
        *,
        name: str = "openai",
        carries_on: bool = False,
        extra: Mapping[str, Any] | None = None,
        public_only: bool = False,
    ) -> None:
        self.carries_on = carries_on
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._extra = dict(extra or {})
        self._public_only = public_only

    def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        call = Call(
            provider=self._name,
            url=f"{self._base_url}/chat/completions",
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            payload=self._payload(request),
            amend=self._without_stream_options,
            public_only=self._public_only,
        )
        return converse(call, ChatDecoder(think_tags=not request.prefix))

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        messages = [{"role": t.role, "content": t.content} for t in request.turns if t.content]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        if request.prefix and self.carries_on:
            # Such a server writes on where a final assistant message ends.
            messages.append({"role": "assistant", "content": request.prefix})
        payload: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True}
        if self._base_url not in _without_usage:
            payload["stream_options"] = {"include_usage": True}
        payload |= {name: value for name, value in request.parameters.items() if name in PARAMETERS}
        if self._base_url == OPENAI_URL and "max_tokens" in payload:
            # OpenAI's newer models refuse the old name, which is all that other servers know.
            payload["max_completion_tokens"] = payload.pop("max_tokens")
        return payload | self._extra

    def _without_stream_options(
        self, payload: dict[str, Any], status: int, body: str
    ) -> dict[str, Any] | None:
        """The payload without the wish for usage, when that is what the server refused."""
        if status != 400 or "stream_options" not in body:
            return None
        _without_usage.add(self._base_url)
        return {name: value for name, value in payload.items() if name != "stream_options"}


class ChatDecoder(Decoder):
    """Decodes the chunks of one streamed chat completion."""

    def __init__(self, *, think_tags: bool = True) -> None:
        super().__init__()
        self._tags = ThinkTags(looking=think_tags)

    def finish(self) -> list[Event]:
        return self._tags.finish()

    def _add(self, name: str, data: str, found: list[Event]) -> None:
        if data == "[DONE]":
            self.reason = self.reason or "stop"
            self.complete = True
            return
        chunk = parse(data)
        if choices := chunk.get("choices"):
            choice = choices[0]
            if delta := choice.get("delta"):
                thought = delta.get("reasoning_content") or delta.get("reasoning")
                if isinstance(thought, str) and thought:
                    found.append(Reasoning(thought))
                text = delta.get("content") or delta.get("refusal")
                if isinstance(text, str) and text:
                    found += self._tags.feed(text)
            if reason := choice.get("finish_reason"):
                self.reason = _REASONS.get(reason, "stop")
        if usage := chunk.get("usage"):
            found.append(
                Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
            )

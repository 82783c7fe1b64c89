"""Anthropic's messages API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from .base import ChatRequest, Event, Reasoning, Text, Usage
from .decoding import Decoder, parse
from .transport import Call, converse

VERSION = "2023-06-01"
PARAMETERS = frozenset({"temperature", "top_p", "max_tokens"})
_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "filter",
}


class Anthropic:
    """Adapter to the messages API; `answer_tokens` is the most a model may answer."""

    # Newer models refuse a final assistant message, so none is sent.
    carries_on = False

    def __init__(
        self, base_url: str, key: str, *, answer_tokens: int = 4_096, public_only: bool = False
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._answer_tokens = answer_tokens
        self._public_only = public_only

    def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        call = Call(
            provider="anthropic",
            url=f"{self._base_url}/v1/messages",
            headers=headers(self._key),
            payload=self._payload(request),
            public_only=self._public_only,
        )
        return converse(call, MessageDecoder())

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        turns = [turn for turn in request.turns if turn.content]
        payload: dict[str, Any] = {
            "model": request.model,
            "max_tokens": self._answer_tokens,
            "messages": [{"role": t.role, "content": t.content} for t in turns],
            "stream": True,
        }
        if request.system:
            payload["system"] = request.system
        payload |= {k: v for k, v in request.parameters.items() if k in PARAMETERS}
        if "temperature" in payload:
            # Its scale ends at 1, that of others at 2; more is refused.
            payload["temperature"] = min(1.0, payload["temperature"])
        return payload


def headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": VERSION}


class MessageDecoder(Decoder):
    """Decodes the events of one streamed message."""

    def __init__(self) -> None:
        super().__init__()
        self._prompt_tokens = 0

    def _add(self, name: str, data: str, found: list[Event]) -> None:
        message = parse(data)
        kind = message.get("type") or name
        if kind == "content_block_delta":
            delta = message["delta"]
            if delta["type"] == "text_delta":
                found.append(Text(delta["text"]))
            elif delta["type"] == "thinking_delta":
                found.append(Reasoning(delta["thinking"]))
        elif kind == "message_start":
            self._prompt_tokens = int(message["message"].get("usage", {}).get("input_tokens", 0))
        elif kind == "message_delta":
            if reason := message["delta"].get("stop_reason"):
                self.reason = _REASONS.get(reason, "stop")
            if usage := message.get("usage"):
                found.append(Usage(self._prompt_tokens, int(usage.get("output_tokens", 0))))
        elif kind == "message_stop":
            self.reason = self.reason or "stop"
            self.complete = True

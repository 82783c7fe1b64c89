"""What the adapters' decoders share: joining neighbours, and reasoning written as text."""

from __future__ import annotations

import json
from typing import Any

from .base import Event, ProviderError, Reasoning, Text
from .errors import error_of, unreadable

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Takes `<think>…</think>` at the very beginning of an answer as reasoning.

    Holds back only what may still become a tag.
    """

    def __init__(self, *, looking: bool = True) -> None:
        self._state = "start" if looking else "answer"
        self._held = ""

    def feed(self, text: str) -> list[Event]:
        if self._state == "answer":
            return [Text(text)]
        text, self._held = self._held + text, ""
        if self._state == "start":
            said = text.lstrip()
            if _OPEN.startswith(said[: len(_OPEN)]) and len(said) < len(_OPEN):
                self._held = text
                return []
            if not said.startswith(_OPEN):
                self._state = "answer"
                return [Text(text)]
            self._state, text = "thinking", said[len(_OPEN) :]
        if self._state == "thinking":
            thought, tag, text = text.partition(_CLOSE)
            if not tag:
                kept = len(thought) - _overlap(thought, _CLOSE)
                self._held = thought[kept:]
                return [Reasoning(thought[:kept])] if kept else []
            self._state = "gap"
            return ([Reasoning(thought)] if thought else []) + self.feed(text)
        # The line ends between the tag and the answer belong to neither.
        text = text.lstrip("\r\n")
        if not text:
            return []
        self._state = "answer"
        return [Text(text)]

    def finish(self) -> list[Event]:
        """What was held back, as what it turned out to be."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Text(held) if self._state == "start" else Reasoning(held)]


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)


def joined(events: list[Event]) -> list[Event]:
    """The same events; neighbours of one kind of text are one."""
    result: list[Event] = []
    parts: list[str] = []
    kind: type[Text] | type[Reasoning] | None = None
    for event in events:
        if kind is not None and type(event) is not kind:
            result.append(kind("".join(parts)))
            parts, kind = [], None
        if isinstance(event, (Text, Reasoning)):
            kind = type(event)
            parts.append(event.text)
        else:
            result.append(event)
    if kind is not None:
        result.append(kind("".join(parts)))
    return result


class Decoder:
    """Makes typed events of a provider's server-sent ones; holds the state of one answer."""

    def __init__(self) -> None:
        # Why the answer ended, once the provider has said so.
        self.reason: str | None = None
        # Nothing more will come.
        self.complete = False
        # What went wrong; the events decoded before it still count.
        self.error: ProviderError | None = None

    def decode(self, events: list[tuple[str, str]]) -> list[Event]:
        """What one network read brought, neighbours joined."""
        found: list[Event] = []
        try:
            for name, data in events:
                if self.complete:
                    break
                self._add(name, data, found)
        except ProviderError as error:
            self.error = error
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            self.error = unreadable()
        return joined(found)

    def finish(self) -> list[Event]:
        """What was held back, when nothing more comes."""
        return []

    def _add(self, name: str, data: str, found: list[Event]) -> None:
        """Add to `found` what one event says. May raise whatever a strange shape does."""
        raise NotImplementedError


def parse(data: str) -> dict[str, Any]:
    """The JSON object of one event. Raises ProviderError, also for the error it may carry."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unreadable() from error
    if not isinstance(message, dict):
        raise unreadable()
    if message.get("error"):
        raise error_of(message["error"])
    return message

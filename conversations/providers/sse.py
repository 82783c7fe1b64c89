"""Server-sent events out of bytes, as WHATWG HTML 9.2 parses them."""

from __future__ import annotations

import codecs

from .base import ProviderError

# Characters of one event or unfinished line: lets a delta of 5 MiB pass, not an endless one.
EVENT_MAX_CHARS = 8 * 1024 * 1024


class EventParser:
    """Parses a stream of events piece by piece; `retry` and `id` fields are ignored."""

    def __init__(self, event_max_chars: int = EVENT_MAX_CHARS) -> None:
        self._max = event_max_chars
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = True
        # The last piece ended in CR: a LF that follows belongs to the same line end.
        self._after_cr = False
        # Pieces of the line that has not ended yet, joined once when it does.
        self._line: list[str] = []
        self._line_chars = 0
        self._name = ""
        self._data: list[str] = []
        self._data_chars = 0

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """The events that `data` completes: list of (event name or "", data), in order.

        Raises ProviderError when an event or a line is longer than allowed.
        """
        text = self._normalise(self._decoder.decode(data))
        head, newline, tail = text.rpartition("\n")
        if newline:
            lines = ("".join(self._line) + head).split("\n")
            self._line.clear()
            self._line_chars = 0
        else:
            lines = []
        if tail:
            self._line.append(tail)
            self._line_chars += len(tail)
        if self._line_chars + self._data_chars > self._max:
            raise _too_large()
        return self._events(lines)

    def _normalise(self, text: str) -> str:
        """Make every line end a LF and drop the byte order mark."""
        if not text:
            return text
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_cr:
            text = text.removeprefix("\n")
            self._after_cr = False
        if "\r" in text:
            self._after_cr = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def _events(self, lines: list[str]) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        for line in lines:
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else "\n".join(self._data)
                    events.append((self._name, data))
                    self._data = []
                    self._data_chars = 0
                self._name = ""
            elif line.startswith("data:"):
                self._add(line[6:] if line.startswith(" ", 5) else line[5:])
            elif line.startswith("event:"):
                self._name = line[6:].removeprefix(" ")
            elif line == "data":
                self._add("")
            elif line == "event":
                self._name = ""
            # Everything else is a comment or a field that we do not read.
        return events

    def _add(self, value: str) -> None:
        self._data.append(value)
        # One for the line end between two values, so that empty ones count too.
        self._data_chars += len(value) + 1
        if self._data_chars > self._max:
            raise _too_large()


def _too_large() -> ProviderError:
    return ProviderError("provider", "The provider sent a piece of text that is too large.")

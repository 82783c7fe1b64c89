"""Server-sent events out of bytes, as WHATWG HTML 9.2 parses them."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from .base import ProviderError

# Bytes of one event or unfinished line: lets a delta of 5 MiB pass, not an endless one.
EVENT_MAX_BYTES = 8 * 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventParser:
    """Parses a stream of events piece by piece; `retry` and `id` fields are ignored.

    Holds bytes until an event is complete: line ends are never a part of another character, and one
    wide character would make a long text of its neighbours take four bytes each.
    """

    def __init__(self, event_max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._max = event_max_bytes
        self._at_start = True
        # The last piece ended in CR: a LF that follows belongs to the same line end.
        self._after_cr = False
        # Pieces of the line that has not ended yet, joined once when it does.
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """The events that `data` completes: list of (event name or "", data), in order.

        Raises ProviderError when an event or a line is longer than allowed.
        """
        head, newline, tail = self._normalise(data).rpartition(b"\n")
        if newline:
            lines = (b"".join(self._line) + head).split(b"\n")
            self._line.clear()
            self._line_bytes = 0
            if self._at_start:
                self._at_start = False
                lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
        else:
            lines = []
        if tail:
            self._line.append(tail)
            self._line_bytes += len(tail)
        if self._line_bytes + self._data_bytes > self._max:
            raise _too_large()
        return self._events(lines)

    def _normalise(self, data: bytes) -> bytes:
        """Make every line end a LF."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _events(self, lines: list[bytes]) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        for line in lines:
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    events.append((_text(self._name), _text(data)))
                    self._data = []
                    self._data_bytes = 0
                self._name = b""
            elif line.startswith(b"data:"):
                self._add(line[6:] if line.startswith(b" ", 5) else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif line == b"data":
                self._add(b"")
            elif line == b"event":
                self._name = b""
            # Everything else is a comment or a field that we do not read.
        return events

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        # One for the line end between two values, so that empty ones count too.
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max:
            raise _too_large()


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _too_large() -> ProviderError:
    return ProviderError("provider", _("The provider sent too much text at once."))

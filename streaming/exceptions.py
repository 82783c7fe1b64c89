from __future__ import annotations


class StreamingError(Exception):
    """Base of what this app raises."""


class UnknownGenerator(StreamingError):
    """No generator is registered under that name."""


class StreamFailed(StreamingError):
    """Raised by a generator to end its stream as `error`.

    `reason` is a value of `EndReason`; `detail` is a sentence shown to the reader: no keys, URLs
    or raw errors.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class BadOffset(StreamingError):
    """A reader of this stream may not ask for that offset; the message says what is allowed."""

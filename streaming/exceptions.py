from __future__ import annotations

import logging
import traceback


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


def log_failure(logger: logging.Logger, error: BaseException, message: str, *args: object) -> None:
    """Log an unexpected error by its type and frames, without its message.

    A database or a parser names the values that it refused, and they are people's.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error(f"{message}: %s\n%s", *args, type(error).__name__, frames)

from __future__ import annotations

import logging
import sqlite3
import traceback

from django.utils.functional import Promise


class StreamingError(Exception):
    """Base of what this app raises."""


class UnknownGenerator(StreamingError):
    """No generator is registered under that name."""


class StreamFailed(StreamingError):
    """Raised by a generator to end its stream as `error`.

    `reason` is a value of `EndReason`; `detail` is a sentence shown to the reader: no keys, URLs
    or raw errors. A lazy translation is stored in the language of the stream's pages.
    """

    def __init__(self, reason: str, detail: str | Promise = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class BadOffset(StreamingError):
    """A reader of this stream may not ask for that offset; the message says what is allowed."""


# PostgreSQL's codes of a disk that is full or fails, class 53 and 58 of its appendix A.
STORAGE_SQLSTATES = {"53100", "58030"}
# SQLite's result codes: no room, a disk that fails (also by a limit of file sizes), read-only.
STORAGE_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}


def is_storage_failure(error: BaseException) -> bool:
    """Whether the database cannot store anything just now, though it answers."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        # The low byte is the primary code, the rest says more of it.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in STORAGE_CODES
    return getattr(cause, "sqlstate", None) in STORAGE_SQLSTATES


def log_failure(logger: logging.Logger, error: BaseException, message: str, *args: object) -> None:
    """Log an unexpected error by its type and frames, without its message.

    A database or a parser names the values that it refused, and they are people's.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error(f"{message}: %s\n%s", *args, type(error).__name__, frames)

"""What the database of a site holds, read from outside of the site."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from ..reasoning import joined

ROW = "SELECT status, end_reason, length, epoch FROM streaming_stream WHERE id = {}"
CHUNKS = "SELECT start, text, epoch FROM streaming_chunk WHERE stream_id = {} ORDER BY start"
COMMITS = "SELECT created_at, start, text FROM streaming_chunk WHERE stream_id = {} ORDER BY start"
STREAM = "SELECT stream_id FROM conversations_message WHERE id = {}"
CONTENT = "SELECT reasoning, content FROM conversations_message WHERE stream_id = {}"


@dataclass(frozen=True)
class Row:
    """A stream's row."""

    status: str
    reason: str
    length: int
    epoch: int


class Store:
    """A reader of one database by its DATABASE_URL; answers None where it cannot be read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = urlsplit(url).scheme == "sqlite"
        self._connection: Any = None

    def row(self, stream: str) -> Row | None:
        found = self._ask(ROW, stream)
        return Row(*found[0]) if found else None

    def length(self, stream: str) -> int | None:
        row = self.row(stream)
        return row.length if row else None

    def chunks(self, stream: str) -> list[tuple[int, str, int]]:
        """(start, text, epoch) of each chunk, in the order of the text."""
        return self._ask(CHUNKS, stream) or []

    def text(self, stream: str) -> str:
        return "".join(text for _, text, _ in self.chunks(stream))

    def commits(self, stream: str) -> list[tuple[float, int]]:
        """(seconds since 1970, end of the text) of each chunk, in the order of the text."""
        return [
            (_seconds(at), start + len(text))
            for at, start, text in self._ask(COMMITS, stream) or []
        ]

    def content(self, stream: str) -> str | None:
        """What the chat keeps of the answer's text."""
        found = self._ask(CONTENT, stream)
        return joined(*found[0]) if found else None

    def stream_of(self, message: int) -> str:
        """The stream of an answer."""
        ((stream,),) = self.ask(STREAM.format("?" if self.is_sqlite else "%s"), message)
        return str(UUID(str(stream)))

    def ask(self, sql: str, *parameters: object) -> list[Any]:
        """Any query, with `?` or `%s` for parameters as the database wants. Raises its errors."""
        rows: list[Any] = self._connect().execute(sql, parameters).fetchall()
        return rows

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, sql: str, stream: str) -> list[Any] | None:
        key = UUID(stream).hex if self.is_sqlite else stream
        # A connection that a restart has cut is found out by its use.
        for is_last in (self._connection is None, True):
            try:
                return self.ask(sql.format("?" if self.is_sqlite else "%s"), key)
            except Exception as error:
                if not _is_away(error):
                    raise
                with suppress(Exception):
                    self.close()
                self._connection = None
                if is_last:
                    break
        return None

    def _connect(self) -> Any:
        if self._connection is None:
            if self.is_sqlite:
                path = urlsplit(self.url).path
                self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)
            else:
                import psycopg

                self._connection = psycopg.connect(self.url, autocommit=True, connect_timeout=1)
        return self._connection


def _seconds(at: datetime | str) -> float:
    """A stored time; SQLite keeps it as text, in UTC without saying so."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return at.timestamp()


def _is_away(error: Exception) -> bool:
    """Whether the database does not answer just now."""
    if isinstance(error, sqlite3.OperationalError):
        return True
    import psycopg

    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)

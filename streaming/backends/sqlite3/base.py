"""Django's SQLite backend with a fair queue before the write lock.

SQLite lets writers poll for its one lock: with a hundred at once some poll in vain until their
timeout, and all burn time. Here the writers of this process wait in line instead, and the journal
goes first; SQLite's own lock is left to other processes. Set it as the database's ENGINE, with
`transaction_mode` IMMEDIATE.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import cache
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

DEFAULT_TIMEOUT_SECONDS = 5.0
# A wait in line that is not worth two more statements.
SHORT_SECONDS = 0.5


class Turnstile:
    """Lets one through at a time, in order of arrival; who has priority goes to the front."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._queue: deque[threading.Event] = deque()

    def enter(self, timeout: float, *, first: bool = False) -> bool:
        """Wait for the turn; False when it has not come after `timeout` seconds."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            turn = threading.Event()
            (self._queue.appendleft if first else self._queue.append)(turn)
        if turn.wait(timeout):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._queue.remove(turn)
        return False

    def leave(self) -> None:
        """Let the next one in."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._is_taken = False


@cache
def turnstile_of(name: str) -> Turnstile:
    """The turnstile of a database file in this process."""
    return Turnstile()


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose immediate transactions wait in line."""

    # Set by the journal: its few transactions carry everybody's text.
    goes_first = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turnstile: Turnstile | None = None

    def _start_transaction_under_autocommit(self) -> None:
        if self.transaction_mode != "IMMEDIATE":  # type: ignore[attr-defined]
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
            return
        turnstile = turnstile_of(str(self.settings_dict["NAME"]))
        options = self.settings_dict["OPTIONS"]
        timeout = float(options.get("timeout", DEFAULT_TIMEOUT_SECONDS))
        began = time.monotonic()
        if not turnstile.enter(timeout * (4 if self.goes_first else 1), first=self.goes_first):
            raise OperationalError("database is locked")
        self._turnstile = turnstile
        waited = time.monotonic() - began
        try:
            self._begin(timeout - waited if waited > SHORT_SECONDS else None, timeout)
        except BaseException:
            self._leave()
            raise

    def _begin(self, patience: float | None, timeout: float) -> None:
        """Take SQLite's own lock; who has waited in line waits only `patience` seconds more."""
        if patience is None or self.goes_first:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
            return
        self.cursor().execute(f"PRAGMA busy_timeout = {max(0, int(patience * 1000))}")
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        finally:
            self.cursor().execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        # A commit that failed leaves the transaction open; its rollback ends it.
        self._leave()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._leave()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._turnstile is not None:
            turnstile, self._turnstile = self._turnstile, None
            turnstile.leave()

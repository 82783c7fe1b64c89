"""The fair queue before SQLite's write lock."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from streaming.backends.sqlite3.base import Turnstile
from streaming.models import Stream

from .live import PATIENCE_SECONDS


@pytest.fixture
def only_sqlite(db: None) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own lock; this run is on another database")


@pytest.fixture
def turnstile() -> Turnstile:
    made = Turnstile()
    assert made.enter(0)
    return made


def queue_up(turnstile: Turnstile, order: list[str], name: str, *, first: bool = False):
    """A thread that waits its turn, notes it and leaves; returned once it stands in line."""

    def wait() -> None:
        assert turnstile.enter(PATIENCE_SECONDS, first=first)
        order.append(name)
        turnstile.leave()

    length = len(turnstile._queue)
    thread = threading.Thread(target=wait)
    thread.start()
    while len(turnstile._queue) == length:
        thread.join(0.001)
    return thread


def test_turns_come_in_order_and_the_journal_s_first(turnstile: Turnstile) -> None:
    order: list[str] = []
    threads = [queue_up(turnstile, order, name) for name in ("one", "two")]
    threads.append(queue_up(turnstile, order, "journal", first=True))
    turnstile.leave()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert order == ["journal", "one", "two"]
    # Nobody holds it any more.
    assert turnstile.enter(0)


def test_who_waits_too_long_goes_and_holds_nobody_up(turnstile: Turnstile) -> None:
    assert not turnstile.enter(0.01)
    turnstile.leave()
    assert turnstile.enter(0)


@pytest.mark.django_db(transaction=True)
def test_many_writers_at_once_all_get_their_turn(only_sqlite: None) -> None:
    def write(number: int) -> None:
        try:
            with transaction.atomic():
                Stream.objects.create(generator=str(number))
        finally:
            connection.close()

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(write, range(200)))
    assert Stream.objects.count() == 200


@pytest.mark.django_db(transaction=True)
def test_line_and_lock_together_take_no_longer_than_the_timeout(
    only_sqlite: None, monkeypatch
) -> None:
    """Another process holds the file: who waits behind a waiting writer gives up in time, too."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 1)
    connection.close()
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def write(_: int) -> float:
        began = time.monotonic()
        try:
            with pytest.raises(OperationalError, match="locked"), transaction.atomic():
                Stream.objects.create(generator="late")
        finally:
            connection.close()
        return time.monotonic() - began

    try:
        with ThreadPoolExecutor(3) as threads:
            longest = max(threads.map(write, range(3)))
    finally:
        other.rollback()
        other.close()
        connection.close()
    # Without taking the time in line off it would be twice the timeout and more.
    assert longest < 1.8

"""What each process asks of PostgreSQL, from the server's own log of statements."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..lab.services import Postgres

# With the log_line_prefix "%a|": who asks, and the first word of what.
STATEMENT = re.compile(r"(\w+)\|LOG:  (?:statement|execute \S+): *(\w+)")
# Statements of the distributed mode's job queue are no reads of streams.
QUEUE = "procrastinate"


@contextmanager
def logged(server: Postgres) -> Iterator[None]:
    """Let PostgreSQL log all statements; that costs it time, so that nothing else is measured."""
    _set(server, "all")
    try:
        yield
    finally:
        _set(server, "none")


def _set(server: Postgres, what: str) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True, application_name="bench") as connection:
        connection.execute(f"ALTER SYSTEM SET log_statement = '{what}'")
        connection.execute("SELECT pg_reload_conf()")


def reads(lines: Iterable[str]) -> dict[str, int]:
    """SELECTs by process, without the job queue's own."""
    counts: Counter[str] = Counter()
    for line in lines:
        found = STATEMENT.match(line)
        if found and found[2].upper() == "SELECT" and QUEUE not in line:
            counts[found[1]] += 1
    return dict(counts)

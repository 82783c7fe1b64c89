"""What tests start themselves: PostgreSQL, Redis, a browser's path and our own server.

The instances are private (see `conversations.lab.services`). A missing program skips the test with
a sentence; where CI=true it fails it.
"""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from conversations.lab import commands, services
from conversations.lab.commands import Server, manage
from conversations.lab.process import ROOT, Missing, destroying, free_port, listens, wait_until

# What migrations have put in, and the index, which follows its table.
KEPT_TABLES = (
    "auth_permission",
    "conversations_search",
    "django_content_type",
    "django_migrations",
    "sqlite_",
)

__all__ = [
    "ROOT",
    "Server",
    "free_port",
    "listens",
    "manage",
    "running_server",
    "site_env",
    "site_template",
    "wait_until",
]


def refuse(missing: Missing) -> NoReturn:
    """Skip the test, or fail it in CI, because a program is not there."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(missing))
    pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Postgres]:
    """A private PostgreSQL 15."""
    try:
        with services.postgres(fsync="off") as server:
            yield server
    except Missing as missing:
        refuse(missing)


@pytest.fixture
def postgres_database(postgres: services.Postgres) -> Iterator[str]:
    """DATABASE_URL of a database of this test's own."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """REDIS_URL of a private Redis that keeps nothing on disk."""
    try:
        with services.redis() as server:
            yield server.url
    except Missing as missing:
        refuse(missing)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser that Playwright drives (`executable_path`); it downloads none itself."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    refuse(Missing("Chromium", "chromium"))


def new_server(
    folder: Path, env: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> Server:
    """A `Server`, not started, whose files are in `folder`; `env` are its settings.

    Without a DATABASE_URL of its own it gets a migrated SQLite file.
    """
    template = site_template()
    settings = site_env(folder / "db.sqlite3", template / "static") | dict(env or {})
    if env and "DATABASE_URL" in env:
        manage(settings, "migrate", "--verbosity=0")
    else:
        shutil.copy(template / "db.sqlite3", folder)
    return Server(folder, settings, arguments)


@contextmanager
def running_server(
    folder: Path, env: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> Iterator[Server]:
    """As `new_server`, started.

    When the body of the `with` fails, the end of the server's log is told with the failure.
    """
    server = new_server(folder, env, arguments)
    with destroying(server):
        server.start()
        yield server


class Servers:
    """As `running_server`, for one test after the other: with the same settings it is one process.

    A start takes a second of the processor, a third of what a short test with a browser takes.
    What a test leaves in the database is deleted; a server that it killed, stopped or paused, and
    one that has served many, is not used again.
    """

    MOST_TESTS = 25

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._env: dict[str, str] = {}
        self._kept: Server | None = None
        self._tests = 0

    @contextmanager
    def running(self, env: dict[str, str]) -> Iterator[Server]:
        if self._kept is None or self._env != env:
            self.close()
            self._kept, self._env, self._tests = new_server(self._new_folder(), env), env, 0
            self._kept.start()
        server, self._kept = self._kept, None
        process = server.process
        self._tests += 1
        try:
            yield server
            is_usable = server.process is process and server.is_running
            if is_usable and server.answers() and self._tests < self.MOST_TESTS:
                empty(server.folder / "db.sqlite3")
                self._kept = server
        finally:
            if self._kept is not server:
                server.destroy()

    def close(self) -> None:
        if self._kept:
            self._kept.destroy()
        self._kept = None


def empty(database: Path) -> None:
    """Delete what people have stored; numbers that were given to rows are not given again."""
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            if not name.startswith(KEPT_TABLES):
                connection.execute(f"DELETE FROM {name}")


@functools.cache
def site_template() -> Path:
    """A folder with a migrated `db.sqlite3` and the collected `static`, made once a session."""
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="chatsite-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    env = site_env(folder / "db.sqlite3", folder / "static")
    manage(env, "migrate", "--verbosity=0")
    manage(env, "collectstatic", "--noinput", "--verbosity=0")
    # One file: copying it must not miss what still stands in the write-ahead log.
    with sqlite3.connect(folder / "db.sqlite3") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return folder


def site_env(database: Path, static: Path) -> dict[str, str]:
    """The environment of a production site on SQLite that reads no `.env`."""
    return commands.site_env(f"sqlite://{database}", static)

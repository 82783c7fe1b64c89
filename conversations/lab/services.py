"""Private instances of the services the site runs on: PostgreSQL and Redis.

Everything listens on a free loopback port and keeps its files in a folder of its own; nothing that
already runs on the machine is touched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from .process import (
    Missing,
    Process,
    destroying,
    find_program,
    free_port,
    listens,
)

POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
MAX_CONNECTIONS = 200


def check_postgres() -> None:
    """Raises Missing."""
    if not (POSTGRES_BIN / "initdb").exists():
        raise Missing("PostgreSQL 15", "postgresql-15")


def find_redis() -> str:
    """The path of Redis' server. Raises Missing."""
    return find_program("redis-server", "redis-server")


class Postgres(Process):
    """PostgreSQL 15 with an empty cluster in `home`."""

    def __init__(self, home: Path, **options: object) -> None:
        check_postgres()
        self.port = free_port()
        self.data = home / "data"
        # PostgreSQL refuses to run as root; its folder must then be another user's.
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(home, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        initdb = [
            str(POSTGRES_BIN / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "chatsite",
            "-A",
            "trust",
        ]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            user=user,
            cwd=home,
            check=True,
            capture_output=True,
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
            **options,
        }
        command = [str(POSTGRES_BIN / "postgres"), "-D", str(self.data)]
        super().__init__(command, log=home / "postgres.log", cwd=home, user=user)
        self.set(**options)

    def set(self, **options: object) -> None:
        """Settings from its next start on; the newest of a name holds."""
        for name, value in options.items():
            self.command += ["-c", f"{name}={value}"]

    @property
    def url(self) -> str:
        """DATABASE_URL of the cluster's first database."""
        return f"postgres://chatsite@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=1):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Fast shutdown (SIGINT), which does not wait for clients; SIGQUIT is `immediate`."""
        return super().stop(signal_number)

    def destroy(self) -> None:
        # A killed PostgreSQL leaves children and shared memory behind; this one takes them along.
        if self.is_running:
            self.process.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.stop(signal.SIGQUIT)
        super().destroy()

    @contextmanager
    def database(
        self, template: str = "template1", tablespace: str = "pg_default"
    ) -> Iterator[str]:
        """DATABASE_URL of a database that is dropped at the end."""
        import psycopg

        name = f"lab_{os.urandom(6).hex()}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {template} TABLESPACE {tablespace}"
            )
        try:
            yield urlsplit(self.url)._replace(path=f"/{name}").geturl()
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def postgres(**options: object) -> Iterator[Postgres]:
    """A running PostgreSQL; `options` are settings of its own. Raises Missing."""
    home = Path(tempfile.mkdtemp(prefix="chatsite-postgres-"))
    try:
        server = Postgres(home, **options)
        with destroying(server):
            server.start()
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


# --- Redis


class Redis(Process):
    """Redis that keeps nothing on disk."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        command = [
            find_redis(),
            *("--bind", "127.0.0.1", "--port", str(self.port)),
            *("--dir", str(home), "--save", "", "--appendonly", "no"),
        ]
        super().__init__(command, log=home / "redis.log", cwd=home)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        return listens(self.port)


@contextmanager
def redis() -> Iterator[Redis]:
    """A running Redis. Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="chatsite-redis-") as home:
        server = Redis(Path(home))
        with destroying(server):
            server.start()
            yield server

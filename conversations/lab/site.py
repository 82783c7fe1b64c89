"""The site as a lab sees it: its processes, database and provider, for one of two set-ups.

`sqlite` is one web process that does everything; `postgres` is two web processes and two workers on
a private PostgreSQL and Redis.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import disk, services
from .commands import Server, Worker, manage, site_env
from .process import Process, destroying, free_port, listens
from .provider import Call
from .services import Postgres, Redis
from .store import Store

SETUPS = ("sqlite", "postgres")
# Models of the scripted provider: one that carries on after a prefix, and one that does not.
CARRIES_ON, STARTS_ANEW = "openai:lab", "anthropic:lab"
# Times that a short run divides by ten.
TIMES = {
    "STREAMING_ABANDONED_SECONDS": 10.0,
    "STREAMING_SWEEP_SECONDS": 1.5,
    "STREAMING_BEAT_SECONDS": 2.0,
    "STREAMING_POLL_SECONDS": 1.5,
    "STREAMING_HEARTBEAT_SECONDS": 10.0,
    "STREAMING_UNACKED_SECONDS": 45.0,
    "STREAMING_IDLE_SECONDS": 60.0,
    "STREAMING_DRAIN_SECONDS": 30.0,
    "PROVIDER_IDLE_SECONDS": 30.0,
}
SHORTER = 10


class Provider(Process):
    """The scripted provider in a process of its own; its port stays over starts."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "conversations.lab.provider", "--port", str(self.port)]
        super().__init__(command, log=folder / "provider.log")

    def answers(self) -> bool:
        return listens(self.port)


@dataclass
class Site:
    """The running processes of one experiment."""

    setup: str
    folder: Path
    env: dict[str, str]
    provider: Provider
    webs: list[Server] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    postgres: Postgres | None = None
    redis: Redis | None = None
    # Where a fault has asked for one, and PostgreSQL is used.
    disk: disk.Disk | None = None

    def __post_init__(self) -> None:
        self.store = Store(self.env["DATABASE_URL"])

    @property
    def is_sqlite(self) -> bool:
        return self.setup == "sqlite"

    @property
    def database(self) -> Path:
        """SQLite's file."""
        return Path(self.env["DATABASE_URL"].removeprefix("sqlite://"))

    @property
    def generators(self) -> list[Process]:
        """The processes that generate."""
        return [*self.workers] or [*self.webs]

    @property
    def processes(self) -> list[Process]:
        return [*self.webs, *self.workers]

    def provider_stats(self) -> dict[str, int]:
        """What the scripted provider has seen: requests, open, done, left."""
        stats: dict[str, int] = self._ask_provider("/stats")
        return stats

    def provider_calls(self, caller: Process | None = None) -> list[Call]:
        """The requests for answers that it has seen since its last start, oldest first.

        Of all processes, or of one.
        """
        calls = [Call(**call) for call in self._ask_provider("/calls")]
        return [call for call in calls if caller is None or call.caller == caller.name]

    def _ask_provider(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.provider.port}{path}") as answer:
            return json.load(answer)

    def manage(self, *arguments: str) -> str:
        return manage(self.env, *arguments)


def check(setup: str) -> None:
    """Raises Missing where a service of the set-up is not installed."""
    if setup == "postgres":
        services.check_postgres()
        services.find_redis()


class Ground:
    """What the experiments of one set-up share: empty migrated databases, services, a provider."""

    def __init__(self, setup: str, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self._count = 0

    @contextmanager
    def open(self) -> Iterator[Ground]:
        """Start the services and migrate a template. Raises Missing."""
        with ExitStack() as stack:
            if self.setup == "postgres":
                self.postgres = stack.enter_context(services.postgres(log_line_prefix="%a|"))
                self.redis = stack.enter_context(services.redis())
                self._template_url = stack.enter_context(self.postgres.database())
            else:
                self._template_url = f"sqlite://{self.folder / 'template.sqlite3'}"
            env = self._env(self._template_url)
            if self.setup == "postgres":
                env["STREAMING_RUNNER"] = "procrastinate"
            manage(env, "migrate", "--verbosity=0")
            manage(env, "collectstatic", "--noinput", "--verbosity=0")
            if self.setup == "sqlite":
                # One file: copying it must not miss what still stands in the write-ahead log.
                connection = sqlite3.connect(self.folder / "template.sqlite3")
                connection.execute("PRAGMA journal_mode=DELETE")
                connection.close()
            yield self

    @contextmanager
    def site(
        self,
        variables: Mapping[str, str] | None = None,
        *,
        webs: int | None = None,
        workers: int | None = None,
        small_disk: bool = False,
        short: bool = False,
    ) -> Iterator[Site]:
        """A fresh site of its own database, started; `variables` are added to its environment.

        Raises Missing.
        """
        self._count += 1
        folder = self.folder / f"site-{self._count}"
        folder.mkdir()
        with ExitStack() as stack:
            provider = Provider(folder)
            stack.enter_context(destroying(provider)).start()
            own_disk = (
                stack.enter_context(disk.small_disk(self.postgres))
                if small_disk and self.postgres
                else None
            )
            url = stack.enter_context(self._database(folder, own_disk))
            env = self._env(url) | {
                "OPENAI_MODELS": CARRIES_ON.partition(":")[2],
                "OPENAI_CARRIES_ON": "True",
                "ANTHROPIC_API_KEY": "none",
                "ANTHROPIC_MODELS": STARTS_ANEW.partition(":")[2],
                "DEFAULT_MODEL": CARRIES_ON,
                "LOG_LEVEL": "INFO",
                "REDIS_PREFIX": f"lab{self._count}",
                **scaled(TIMES, short),
                **(variables or {}),
            }
            site = Site(self.setup, folder, env, provider)
            site.postgres, site.redis, site.disk = self.postgres, self.redis, own_disk
            stack.callback(site.store.close)
            is_sqlite = self.setup == "sqlite"
            webs = (1 if is_sqlite else 2) if webs is None else webs
            workers = (0 if is_sqlite else 2) if workers is None else workers
            if workers:
                env["STREAMING_RUNNER"] = "procrastinate"
            site.webs = [Server(folder, env, name=f"web{n}") for n in range(webs)]
            site.workers = [Worker(folder, env, name=f"worker{n}") for n in range(workers)]
            for process in site.processes:
                # The provider knows from the path which process asks.
                base = f"http://127.0.0.1:{provider.port}/by/{process.name}"
                urls = {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}
                process.env = {"PGAPPNAME": process.name, **urls, **env}
                stack.enter_context(destroying(process))
            start_all(site.processes)
            yield site

    def _env(self, url: str) -> dict[str, str]:
        env = site_env(url, self.folder / "static")
        if self.redis is not None:
            env["REDIS_URL"] = self.redis.url
        return env

    @contextmanager
    def _database(self, folder: Path, own_disk: disk.Disk | None) -> Iterator[str]:
        if self.postgres is None:
            shutil.copy(self.folder / "template.sqlite3", folder / "db.sqlite3")
            yield f"sqlite://{folder / 'db.sqlite3'}"
        else:
            template = self._template_url.rpartition("/")[2]
            tablespace = own_disk.tablespace if own_disk else "pg_default"
            with self.postgres.database(template, tablespace) as url:
                yield url


def scaled(seconds: Mapping[str, float], short: bool) -> dict[str, str]:
    """Times as an environment: a tenth of them for a short run."""
    return {name: str(value / SHORTER if short else value) for name, value in seconds.items()}


def start_all(processes: list[Any]) -> None:
    """Start processes side by side and wait until all answer. Raises TimeoutError."""
    for process in processes:
        process.launch()
    with ThreadPoolExecutor(max(1, len(processes))) as pool:
        list(pool.map(lambda process: process.wait_ready(), processes))

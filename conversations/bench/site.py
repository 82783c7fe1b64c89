"""The processes of a benchmark: model server, the real site in one of its set-ups, guests."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from ..lab.commands import Server, Worker, manage, site_env
from ..lab.process import ROOT, Process, destroying
from ..lab.services import Postgres, postgres, redis
from .processes import cpu_seconds
from .provider import MODEL

STOP_SECONDS = 20


class BenchmarkFailed(Exception):
    """A process of the benchmark ended before its work was done."""


@dataclass(frozen=True)
class Setup:
    """Which processes the site consists of."""

    # "sqlite" or "postgres".
    database: str = "sqlite"
    # "daphne" or "uvicorn".
    server: str = "daphne"
    webs: int = 1
    # 0: the web processes run the generators themselves.
    workers: int = 0
    # Several processes have it anyway.
    redis: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether processes have to tell each other what they did."""
        return self.webs + self.workers > 1


@dataclass(frozen=True)
class Running:
    """A site that serves."""

    urls: list[str]
    # "web", "worker", "postgres", "redis": those that there are.
    parts: dict[str, list[Process]]
    database_url: str

    def pids(self, *parts: str) -> list[int]:
        return [one.pid for part in parts for one in self.parts.get(part, [])]

    @property
    def site(self) -> list[int]:
        """The processes that run this project's code."""
        return self.pids("web", "worker")

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each part so far."""
        return {part: cpu_seconds(self.pids(part)) for part in self.parts}

    def cpu_over(self, seconds: float) -> dict[str, float]:
        """CPU seconds a second of each part, over the next `seconds`."""
        before, began = self.cpu(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        return {part: (now - before[part]) / took for part, now in self.cpu().items()}

    @property
    def postgres(self) -> Postgres | None:
        (server,) = self.parts.get("postgres", [None])
        assert server is None or isinstance(server, Postgres)
        return server

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the site's database; placeholders are %s."""
        if self.postgres:
            import psycopg

            with psycopg.connect(self.database_url, application_name="bench") as connection:
                return connection.execute(sql, parameters).fetchall()
        with closing(sqlite3.connect(urlsplit(self.database_url).path)) as file:
            values = [one.hex if isinstance(one, UUID) else one for one in parameters]
            return file.execute(sql.replace("%s", "?"), values).fetchall()

    def stored(self, stream: str) -> tuple[str, str]:
        """The text that the database holds of a stream, and how it says that the stream ended."""
        chunks = "SELECT text FROM streaming_chunk WHERE stream_id = %s ORDER BY start"
        end = "SELECT status, end_reason, end_detail FROM streaming_stream WHERE id = %s"
        (words,) = self.query(end, UUID(stream))
        text = "".join(piece for (piece,) in self.query(chunks, UUID(stream)))
        return text, " ".join(filter(None, words))


class Site:
    """A migrated site; each `serving` starts from the same empty database."""

    def __init__(
        self, setup: Setup, folder: Path, provider_port: int, settings: Mapping[str, str]
    ) -> None:
        self.setup, self.folder = setup, folder
        self.template = folder / "empty.sqlite3"
        self.env = {
            **site_env("", folder / "static"),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODELS": MODEL,
            "DEFAULT_MODEL": f"openai:{MODEL}",
            "LOG_LEVEL": "WARNING",
            **({"STREAMING_RUNNER": "procrastinate"} if setup.workers else {}),
            **settings,
        }
        self._postgres: Postgres | None = None
        self._postgres_template = ""

    @contextmanager
    def prepared(self) -> Iterator[Site]:
        """Collect the static files and make the empty database, in a PostgreSQL if one is used."""
        manage(self.env | {"DATABASE_URL": "sqlite:///:memory:"} | NO_WORKERS, *COLLECT)
        with ExitStack() as stack:
            if self.setup.database == "postgres":
                self._postgres = stack.enter_context(postgres(log_line_prefix="%a|"))
                url = stack.enter_context(self._postgres.database())
                self._postgres_template = urlsplit(url).path.lstrip("/")
            else:
                url = f"sqlite://{self.template}"
            manage(self.env | {"DATABASE_URL": url}, "migrate", "--verbosity=0")
            if self.setup.database == "sqlite":
                # One file: what still stands in the write-ahead log goes into it.
                with closing(sqlite3.connect(self.template)) as file:
                    file.execute("PRAGMA journal_mode=DELETE")
            yield self

    @contextmanager
    def serving(self) -> Iterator[Running]:
        """Start all processes on a fresh database and wait until they answer."""
        setup = self.setup
        with ExitStack() as stack:
            parts: dict[str, list[Process]] = {}
            url = stack.enter_context(self._database())
            env = self.env | {"DATABASE_URL": url}
            if self._postgres:
                parts["postgres"] = [self._postgres]
            if setup.is_shared or setup.redis:
                server = stack.enter_context(redis())
                parts["redis"] = [server]
                env |= {"REDIS_URL": server.url}
            parts["web"] = [
                Server(
                    self.folder,
                    # The name by which PostgreSQL's log tells the processes apart.
                    env | {"PGAPPNAME": f"web{number}"},
                    ["--server", setup.server],
                    name=f"web{number}",
                )
                for number in range(setup.webs)
            ]
            parts["worker"] = [
                Worker(self.folder, env | {"PGAPPNAME": f"worker{number}"}, name=f"worker{number}")
                for number in range(setup.workers)
            ]
            started = [*parts["web"], *parts["worker"]]
            for process in started:
                process.log.unlink(missing_ok=True)
                stack.enter_context(destroying(process))
                process.launch()
            for process in started:
                process.wait_ready()
            urls = [one.url for one in parts["web"] if isinstance(one, Server)]
            yield Running(urls, {name: found for name, found in parts.items() if found}, url)

    @contextmanager
    def _database(self) -> Iterator[str]:
        """DATABASE_URL of a copy of the empty database."""
        if self._postgres:
            with self._postgres.database(self._postgres_template) as url:
                yield url
            return
        database = self.folder / "db.sqlite3"
        for left_over in self.folder.glob("db.sqlite3*"):
            left_over.unlink()
        shutil.copy(self.template, database)
        yield f"sqlite://{database}"


NO_WORKERS = {"STREAMING_RUNNER": "embedded"}
COLLECT = ("collectstatic", "--noinput", "--verbosity=0")


@contextmanager
def provider(*, shape: str, tokens: int, rate: float) -> Iterator[int]:
    """Run the scripted model server in its own process; its port."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "conversations.bench.provider"),
            *("--shape", shape, "--tokens", str(tokens), "--rate", str(rate)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        port = process.stdout.readline()
        if not port:
            raise BenchmarkFailed("The model server did not start.")
        yield int(port)
    finally:
        end(process)


class Guests:
    """The guests' process, which waits for the word before they ask."""

    def __init__(self, urls: Sequence[str], options: Mapping[str, Any]) -> None:
        arguments = [part for url in urls for part in ("--url", url)]
        arguments += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conversations.bench.client", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        """Give the word."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read up to an event of the guests. Raises BenchmarkFailed when they end before it."""
        assert self.process.stdout
        for line in self.process.stdout:
            content: dict[str, Any] = json.loads(line)
            if content["event"] == event:
                return content
        raise BenchmarkFailed(f"The guests ended before '{event}'.")

    def end(self) -> None:
        end(self.process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask the process to stop, and make it when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()

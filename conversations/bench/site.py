"""The processes of a benchmark: model server, the real site in a temporary folder, guests."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from .provider import MODEL

START_SECONDS = 60
STOP_SECONDS = 20


class BenchmarkFailed(Exception):
    """A process of the benchmark ended or did not start; the message holds its last words."""


class Site:
    """A fresh, migrated site; each `serving` starts from the same empty database."""

    def __init__(self, root: Path, folder: Path, provider_port: int) -> None:
        self.root, self.folder = root, folder
        self.database = folder / "db.sqlite3"
        self.template = folder / "empty.sqlite3"
        self.log = folder / "server.log"
        self.env = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "ENV_FILE": os.devnull,
            "DEBUG": "False",
            "SECRET_KEY": secrets.token_hex(32),
            "DATABASE_URL": f"sqlite://{self.database}",
            "STATIC_ROOT": str(folder / "static"),
            "LOCAL_MODEL": "off",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODELS": MODEL,
            "DEFAULT_MODEL": f"openai:{MODEL}",
            "LOG_LEVEL": "WARNING",
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        """Create the empty database and collect the static files."""
        for arguments in (["migrate"], ["collectstatic", "--noinput"]):
            command = [sys.executable, "manage.py", *arguments, "--verbosity=0"]
            done = subprocess.run(
                command, cwd=self.root, env=self.env, capture_output=True, text=True
            )
            if done.returncode:
                raise BenchmarkFailed(f"manage.py {arguments[0]}: {done.stderr[-2000:]}")
        # One file: what still stands in the write-ahead log goes into it.
        connection = sqlite3.connect(self.database)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.close()
        self.database.rename(self.template)

    @contextmanager
    def serving(self, command: str) -> Iterator[tuple[int, str]]:
        """Run the server `command` (with {port}) on a fresh database; its pid and address."""
        for left_over in self.folder.glob("db.sqlite3*"):
            left_over.unlink()
        shutil.copy(self.template, self.database)
        port = free_port()
        arguments = [
            sys.executable if part == "python" else part
            for part in shlex.split(command.format(port=port))
        ]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                arguments, cwd=self.root, env=self.env, stdout=log, stderr=log
            )
        try:
            wait_for(lambda: listens(port), process)
            yield process.pid, f"http://127.0.0.1:{port}"
        except BenchmarkFailed as error:
            raise BenchmarkFailed(f"{error}\nThe server's last words:\n{self.words()}") from None
        finally:
            end(process)

    def words(self) -> str:
        """The end of the server's log."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stored(self, stream: str) -> tuple[str, str]:
        """The text that the database holds of a stream, and how it says that the stream ended."""
        chunks = "SELECT text FROM streaming_chunk WHERE stream_id = ? ORDER BY start"
        end = "SELECT status, end_reason, end_detail FROM streaming_stream WHERE id = ?"
        key = [UUID(stream).hex]
        connection = sqlite3.connect(self.database)
        try:
            text = "".join(text for (text,) in connection.execute(chunks, key))
            return text, " ".join(filter(None, connection.execute(end, key).fetchone()))
        finally:
            connection.close()


@contextmanager
def provider(root: Path, *, shape: str, tokens: int, rate: float) -> Iterator[int]:
    """Run the scripted model server in its own process; its port."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "conversations.bench.provider"),
            *("--shape", shape, "--tokens", str(tokens), "--rate", str(rate)),
        ],
        cwd=root,
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

    def __init__(self, root: Path, url: str, options: Mapping[str, Any]) -> None:
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conversations.bench.client", "--url", url, *arguments],
            cwd=root,
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Poll until `happened`. Raises BenchmarkFailed when the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkFailed("The server did not start.")
        time.sleep(0.05)


def end(process: subprocess.Popen[Any]) -> None:
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

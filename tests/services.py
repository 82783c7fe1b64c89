"""What tests start themselves: PostgreSQL, Redis, a browser's path and our own server.

Every service is a private instance on a free loopback port in a temporary folder; nothing that
already runs on the machine is touched. A missing program skips the test with a sentence; where
CI=true it fails it.
"""

from __future__ import annotations

import functools
import http.client
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
START_SECONDS = 60


def missing(program: str, package: str) -> None:
    """Skip the test, or fail it in CI, because `program` of Debian's `package` is not there."""
    sentence = f"{program} is not installed; on Debian: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(
    happened: Callable[[], object], what: str, *, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Poll `happened` until it is true. Raises TimeoutError, also when `process` has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not happened():
        if process and process.poll() is not None:
            raise TimeoutError(f"{what}: the process ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {START_SECONDS} seconds")
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- PostgreSQL


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """DATABASE_URL of an empty database on a private PostgreSQL 15."""
    if not (POSTGRES_BIN / "initdb").exists():
        missing("PostgreSQL 15", "postgresql-15")
    # PostgreSQL refuses to run as root; its own temporary folder must then be another user's.
    user = "postgres" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="chatsite-postgres-"))
    if user:
        os.chown(home, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    port = free_port()
    data = home / "data"
    initdb = [POSTGRES_BIN / "initdb", "-D", data, "-U", "chatsite", "-A", "trust"]
    subprocess.run(
        [*initdb, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
        user=user,
        cwd=home,
        check=True,
        capture_output=True,
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 200,
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                POSTGRES_BIN / "postgres",
                *("-D", data),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            user=user,
            cwd=home,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"postgres://chatsite@127.0.0.1:{port}/postgres"
        wait_until(lambda: postgres_answers(url), "PostgreSQL starts", process=process)
        yield url
    finally:
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def postgres_answers(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=1):
            return True
    except psycopg.OperationalError:
        return False


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """DATABASE_URL of a database of this test's own."""
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# --- Redis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """REDIS_URL of a private Redis that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if not program:
        missing("Redis", "redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chatsite-redis-") as home:
        process = subprocess.Popen(
            [
                program,
                *("--bind", "127.0.0.1", "--port", str(port)),
                *("--dir", home, "--save", "", "--appendonly", "no"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: listens(port), "Redis starts", process=process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(30)


# --- Chromium


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser that Playwright drives (`executable_path`); it downloads none itself."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    missing("Chromium", "chromium")


# --- Our own server


class Server:
    """The real site as a child process, by `manage.py serve`; it may be killed and started again.

    Port, database and log stay the same over starts.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.env = env
        self.arguments = arguments
        self.port = free_port()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Start and wait until a page is answered, with whatever status."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port), *self.arguments],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                # A group of its own: what it starts can be ended with it.
                start_new_session=True,
            )
        wait_until(self.answers, "The server starts", process=self.process)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            return False
        else:
            return True
        finally:
            connection.close()

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py beside the server; its standard output."""
        return manage(self.env, *arguments)

    def kill9(self) -> None:
        """End the server as a power cut would."""
        self.process.kill()
        self.process.wait(30)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ask the server to stop, wait until it has, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(60)

    def output(self) -> str:
        """What the server has printed and logged so far."""
        return self.log.read_text(errors="replace")


@contextmanager
def running_server(
    folder: Path, env: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> Iterator[Server]:
    """A started `Server` whose files are in `folder`; `env` are its settings.

    Without a DATABASE_URL of its own it gets a migrated SQLite file. When the body of the `with`
    fails, the end of the server's log is told with the failure.
    """
    template = site_template()
    settings = site_env(folder / "db.sqlite3", template / "static") | dict(env or {})
    if env and "DATABASE_URL" in env:
        manage(settings, "migrate", "--verbosity=0")
    else:
        shutil.copy(template / "db.sqlite3", folder)
    server = Server(folder, settings, arguments)
    try:
        server.start()
        yield server
    except BaseException as error:
        error.add_note(f"The end of {server.log}:\n{server.output()[-4000:]}")
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.process.wait(30)


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
    """The environment of a production site that reads no `.env`."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "ENV_FILE": os.devnull,
        "DATABASE_URL": f"sqlite://{database}",
        "STATIC_ROOT": str(static),
        "SECRET_KEY": "tests-only-" + "x" * 50,
        "FIELD_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "LOCAL_MODEL": "off",
        "PYTHONUNBUFFERED": "1",
    }


def manage(env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout

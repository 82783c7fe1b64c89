"""Private instances of what the site runs on: PostgreSQL, Redis and the site's own processes.

Everything listens on a free loopback port and keeps its files in a folder of its own; nothing that
already runs on the machine is touched. Each process may be killed, paused, and started again with
the same port and files.
"""

from __future__ import annotations

import http.client
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
MAX_CONNECTIONS = 200
START_SECONDS = 60
STOP_SECONDS = 60


class Missing(Exception):
    """A program is not installed; the message says which package of Debian has it."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed; on Debian: apt-get install {package}")


class NotRoot(Missing):
    """This user may not do it."""

    def __init__(self, what: str) -> None:
        Exception.__init__(self, f"{what} can be made by root only.")


def find_program(name: str, package: str) -> str:
    """The path of a program. Raises Missing."""
    if path := shutil.which(name):
        return path
    raise Missing(name, package)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    happened: Callable[[], object],
    what: str,
    *,
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = START_SECONDS,
) -> None:
    """Poll `happened` until it is true. Raises TimeoutError, also when `process` has ended."""
    deadline = time.monotonic() + seconds
    while not happened():
        if process and process.poll() is not None:
            raise TimeoutError(f"{what}: the process ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} seconds")
        time.sleep(0.02)


class Process:
    """A child process in a group of its own, with a log; may be started again after any end."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        user: str | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.env = env
        self.cwd = cwd
        self.user = user
        self.log = log
        # Characters that the log held before the last start.
        self._printed_before = 0
        self.process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def name(self) -> str:
        return self.log.stem

    @property
    def is_running(self) -> bool:
        return hasattr(self, "process") and self.process.poll() is None

    def answers(self) -> bool:
        """Whether the process does its work."""
        return True

    def launch(self) -> None:
        """Start without waiting."""
        self._printed_before = len(self.output())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=None if self.env is None else dict(self.env),
                user=self.user,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until it answers. Raises TimeoutError with the end of its log."""
        try:
            wait_until(self.answers, f"{self.command[-1]} starts", process=self.process)
        except TimeoutError as error:
            error.add_note(self.last_words())
            raise

    def start(self) -> None:
        """Start and wait until it answers. Raises TimeoutError."""
        self.launch()
        self.wait_ready()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        """Stop the process where it stands (SIGSTOP)."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def fill_disk(self) -> None:
        """Let the process write to files no more, as if the disk were full; needs no rights.

        Python ignores SIGXFSZ, so the writes fail with EFBIG.
        """
        _soft, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (1, hard))

    def free_disk(self) -> None:
        """Undo `fill_disk`."""
        _soft, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))

    def kill9(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ask the process to stop, wait until it has, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(STOP_SECONDS)

    def destroy(self) -> None:
        """Kill the process and what it started."""
        if hasattr(self, "process"):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)

    def output(self) -> str:
        """What the process has printed and logged so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def output_since_start(self) -> str:
        """What it has printed and logged since it was started last."""
        return self.output()[self._printed_before :]

    def last_words(self) -> str:
        return f"The end of {self.log}:\n{self.output()[-4000:]}"


@contextmanager
def destroying(process: Process) -> Iterator[Process]:
    """Destroy the process at the end; when the body fails, tell the end of its log."""
    try:
        yield process
    except BaseException as error:
        error.add_note(process.last_words())
        raise
    finally:
        process.destroy()


# --- PostgreSQL


class Postgres(Process):
    """PostgreSQL 15 with an empty cluster in `home`."""

    def __init__(self, home: Path, **options: object) -> None:
        if not (POSTGRES_BIN / "initdb").exists():
            raise Missing("PostgreSQL 15", "postgresql-15")
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
            find_program("redis-server", "redis-server"),
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


# --- The site's own processes


def site_env(database_url: str, static: Path) -> dict[str, str]:
    """The environment of a production site that reads no `.env`."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "ENV_FILE": os.devnull,
        "DATABASE_URL": database_url,
        "STATIC_ROOT": str(static),
        "SECRET_KEY": "lab-only-" + "x" * 50,
        "FIELD_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "LOCAL_MODEL": "off",
        # Providers are asked what a test or a measurement asks.
        "MODEL_TITLES": "False",
        "PYTHONUNBUFFERED": "1",
    }


class Command(Process):
    """`manage.py …` of this site as a process that stays."""

    def __init__(self, folder: Path, env: Mapping[str, str], *arguments: str, name: str) -> None:
        self.folder = folder
        command = [sys.executable, "manage.py", *arguments]
        super().__init__(command, log=folder / f"{name}.log", env=env)

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py beside this one; its standard output."""
        assert self.env is not None
        return manage(self.env, *arguments)


class Server(Command):
    """The site's web server, by `manage.py serve`; port, database and log stay over starts."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        name: str = "server",
    ) -> None:
        self.port = free_port()
        super().__init__(folder, env, "serve", "--port", str(self.port), *arguments, name=name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether a page is answered, with whatever status."""
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


class Worker(Command):
    """A worker of the distributed mode, by `manage.py procrastinate worker`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        name: str = "worker",
    ) -> None:
        super().__init__(folder, env, "procrastinate", "worker", *arguments, name=name)

    def answers(self) -> bool:
        return "Ready for answers" in self.output_since_start()


def manage(env: Mapping[str, str], *arguments: str) -> str:
    """Run a command of manage.py to its end; its standard output. Raises RuntimeError."""
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

"""A process that may be killed, paused, and started again with the same port and files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
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

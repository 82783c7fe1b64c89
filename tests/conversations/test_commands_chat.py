from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services import ROOT, site_env, site_template

STOP = b"\x03"
END_OF_INPUT = b"\x04"
SECONDS = 60


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of an offline site with a database of its own."""
    shutil.copy(site_template() / "db.sqlite3", tmp_path)
    settings = site_env(tmp_path / "db.sqlite3", site_template() / "static")
    return settings | {"ECHO_DELAY_MILLISECONDS": "0", "LOG_LEVEL": "ERROR"}


def rows(env: dict[str, str], query: str) -> list[tuple]:
    connection = sqlite3.connect(env["DATABASE_URL"].removeprefix("sqlite://"))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def chat(env: dict[str, str], text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with `text` as its standard input."""
    return subprocess.run(
        [sys.executable, "manage.py", "chat", *arguments],
        cwd=ROOT,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_each_line_is_answered_and_stored_in_one_conversation(env: dict[str, str]) -> None:
    done = chat(env, "Hello\n\nAnd you?\n")
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == 2
    assert '"Hello"' in answers[0]
    assert '"And you?"' in answers[1]
    stored = rows(env, "SELECT role, content FROM conversations_message ORDER BY id")
    assert [role for role, _ in stored] == ["user", "assistant"] * 2
    assert [content for _, content in stored] == ["Hello", answers[0], "And you?", answers[1]]
    assert rows(env, "SELECT count(*) FROM conversations_conversation") == [(1,)]


def test_a_model_that_is_not_offered_is_refused_with_those_that_are(env: dict[str, str]) -> None:
    done = chat(env, "Hello\n", "--model", "nobody:nothing")
    assert done.returncode == 1
    assert "nobody:nothing" in done.stderr
    assert "echo:echo" in done.stderr


def test_an_unknown_account_is_refused(env: dict[str, str]) -> None:
    done = chat(env, "Hello\n", "--user", "nobody@example.com")
    assert done.returncode == 1
    assert "nobody@example.com" in done.stderr


def take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    # A shell's background job, which a test run may be, has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """The command in a terminal of its own, as a person would use it."""

    def __init__(self, env: dict[str, str]) -> None:
        self.side, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "chat"],
            cwd=ROOT,
            env=env | {"TERM": "xterm", "COLUMNS": "80"},
            stdin=other,
            stdout=other,
            stderr=other,
            # The terminal is the process's own, so that Ctrl-C reaches it as a signal.
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(other)
        self.screen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def wait_for(self, text: bytes) -> None:
        """Read the screen until it has shown `text` since the last wait."""
        deadline = time.monotonic() + SECONDS
        while text not in self.screen:
            ready, _, _ = select.select([self.side], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} did not appear; the screen shows {self.screen!r}"
            self.screen += os.read(self.side, 65_536)
        self.screen = self.screen.partition(text)[2]

    def end_by(self, key: bytes) -> int:
        """Press the key until the command has ended; its exit code.

        A Ctrl-C between the prompt and the read behind it is seen with the next key only.
        """
        for _ in range(4):
            self.type(key)
            with suppress(subprocess.TimeoutExpired):
                # Long enough to end: a second key would kill what is ending.
                return self.process.wait(SECONDS / 4)
        raise TimeoutError("The command does not end.")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.side)


@pytest.fixture
def terminal(env: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(env | {"ECHO_DELAY_MILLISECONDS": "50"})
    yield terminal
    terminal.close()


def test_ctrl_c_stops_the_answer_and_keeps_its_text_and_the_next_one_ends_the_chat(
    env: dict[str, str], terminal: Terminal
) -> None:
    prompt = "›".encode()
    terminal.wait_for(prompt)
    terminal.type(b"Please repeat this long sentence to me, letter by letter\n")
    terminal.wait_for(b"I received")
    terminal.type(STOP)
    terminal.wait_for(b"Stopped.")
    terminal.wait_for(prompt)
    assert terminal.end_by(STOP) == 0
    ((status, content),) = rows(
        env,
        "SELECT status, content FROM streaming_stream JOIN conversations_message"
        " ON conversations_message.stream_id = streaming_stream.id",
    )
    assert status == "stopped"
    assert content.startswith("I received")
    assert not content.endswith("further?")


def test_the_end_of_input_ends_the_chat(terminal: Terminal) -> None:
    terminal.wait_for("›".encode())
    assert terminal.end_by(END_OF_INPUT) == 0

"""Tests of the log and of the chat's verbs once more, on a private PostgreSQL.

Other statements, and rows that lock.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.services import ROOT

CORE = (
    "appending",
    "journal",
    "supervisor",
    "consumers",
    "hub",
    "reader",
    "actions",
    "dispatch",
    "executors",
    "commands_verifystreams",
)


@pytest.mark.services
def test_the_log_keeps_its_promises_on_postgresql(postgres_database: str) -> None:
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        pytest.skip("This run is on PostgreSQL already.")
    # Reused, not dropped: the threads of `sync_to_async` may still be connected at the end.
    files = [f"tests/streaming/test_{name}.py" for name in CORE]
    files += [f"tests/conversations/test_{name}.py" for name in ("actions", "purging", "searching")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n0",
            "--reuse-db",
            *files,
        ],
        cwd=ROOT,
        # The tests decide what runs when; with this the queue's tables are there for those of it.
        env={
            **os.environ,
            "DATABASE_URL": postgres_database,
            "STREAMING_RUNNER": "procrastinate",
        },
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]

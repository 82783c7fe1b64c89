from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.services import ROOT

KEYS = {
    "bytes_per_token",
    "cpu_ms_per_1000_tokens",
    "doubled",
    "errors",
    "first_token_ms",
    "latency_ms",
    "load_avg",
    "lost",
    "reordered",
    "rss_growth_mib",
    "rss_kib_per_stream",
    "rss_mib_idle",
    "shape",
    "streams",
    "tabs",
    "tokens",
}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "benchstreams", *arguments],
        cwd=ROOT,
        env=os.environ | {"ENV_FILE": os.devnull, "SECRET_KEY": "tests-only"},
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_two_answers_in_two_tabs_arrive_whole_and_are_told_in_one_line() -> None:
    done = bench("--streams=2", "--tokens=20", "--tabs=2", "--runs=1", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert report.keys() >= KEYS
    assert (report["streams"], report["tokens"], report["tabs"]) == (2, 20, 2)
    assert (report["lost"], report["doubled"], report["reordered"]) == (0, 0, 0)
    assert report["errors"] == []
    assert report["cpu_ms_per_1000_tokens"] > 0
    assert report["latency_ms"]["p50"] > 0
    assert report["first_token_ms"]["p99"] > 0
    assert report["rss_mib_idle"] > 0
    assert "run 1 of 1" in done.stderr


def test_a_server_that_does_not_start_is_a_sentence() -> None:
    done = bench("--streams=1", "--runs=1", "--server=python -c 'exit(\"no luck\")'")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "The server did not start." in done.stderr
    assert "no luck" in done.stderr


def test_nothing_to_measure_is_refused() -> None:
    done = bench("--streams=0")
    assert done.returncode == 1
    assert "must be positive" in done.stderr

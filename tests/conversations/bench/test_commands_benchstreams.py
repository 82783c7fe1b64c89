from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conversations.bench.site import Setup, Site
from tests.services import ROOT

KEYS = {
    "bytes_per_token",
    "cpu_ms_by_part",
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
        timeout=300,
    )


def test_two_answers_in_tabs_and_followers_arrive_whole_and_are_told_in_one_line() -> None:
    done = bench("--streams=2", "--tokens=20", "--tabs=2", "--followers=3", "--runs=1", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert report.keys() >= KEYS
    assert (report["streams"], report["tokens"], report["tabs"]) == (2, 20, 2)
    assert (report["lost"], report["doubled"], report["reordered"]) == (0, 0, 0)
    assert report["errors"] == []
    assert report["cpu_ms_per_1000_tokens"] == report["cpu_ms_by_part"]["web"] > 0
    assert report["latency_ms"]["p50"] > 0
    assert report["first_token_ms"]["p99"] > 0
    assert report["rss_mib_idle"] > 0
    assert "run 1 of 1" in done.stderr


@pytest.mark.usefixtures("postgres", "redis_url")
def test_two_web_processes_are_told_apart_in_cpu_and_reads() -> None:
    done = bench(
        # Long enough for reads after all tabs have text.
        *("--database=postgres", "--webs=2", "--streams=2", "--tokens=150", "--tabs=2"),
        *("--idle=1", "--runs=1", "--json"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["lost"], report["doubled"], report["reordered"]) == (0, 0, 0)
    assert report["errors"] == []
    assert report["cpu_ms_by_part"].keys() >= {"web", "postgres", "redis"}
    assert report["idle_cpu_ms_per_tab_minute"].keys() >= {"web", "postgres", "redis"}
    assert report["reads_per_append"].keys() == {"web0", "web1"}
    assert min(report["reads_per_append"].values()) > 0


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    site = Site(Setup(), tmp_path, provider_port=9, settings={})
    with site.prepared():
        site.env["SECRET_KEY"] = ""
        with pytest.raises(TimeoutError, match="ended with exit code 1") as failure, site.serving():
            pass
    assert "SECRET_KEY is not set" in "".join(failure.value.__notes__)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--streams=0"], "must be positive"),
        (["--workers=-1"], "cannot be fewer than none"),
        (["--webs=2"], "--database postgres"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], sentence: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert sentence in done.stderr

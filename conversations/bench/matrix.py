"""All set-ups of docs/performance.md in one go, each measured once, as Markdown tables."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .measure import Load
from .series import series
from .site import Setup

SERVERS = ("daphne", "uvicorn")
STREAMS = (100, 300)
TOKENS, RATE = 300, 50.0
SQLITE = {"database": "sqlite"}
SHARED = {"database": "postgres", "redis": True}
SETUPS: tuple[dict[str, Any], ...] = (
    SQLITE,
    SHARED,
    SHARED | {"webs": 2, "workers": 1},
    SHARED | {"webs": 3, "workers": 2},
)
# Tabs on one stream, whose answer is long enough for all of them to have come.
FOLLOWERS, FOLLOWED_TOKENS = 1_000, 600
FOLLOWED: tuple[dict[str, Any], ...] = (SQLITE, SHARED | {"webs": 2, "workers": 1})
# Open tabs in which nothing happens, for as long as each is asked for its access once.
IDLE = Load(300, TOKENS, RATE, idle=60)
IDLE_SETUP = Setup("postgres", "uvicorn", redis=True)
# The distributed mode may cost so many times what the embedded one does.
RATIO = 1.6


@dataclass(frozen=True)
class Row:
    setup: Setup
    load: Load
    figures: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def measure_matrix(*, say: Callable[[str], None]) -> str:
    """Measure everything, one run each; Markdown. A run that fails is a row that says so."""
    began = time.monotonic()
    streams = [
        measured(Setup(server=server, **setup), Load(count, TOKENS, RATE), say)
        for count, server, setup in itertools.product(STREAMS, SERVERS, SETUPS)
    ]
    followers = [
        measured(Setup(server=server, **setup), Load(1, FOLLOWED_TOKENS, RATE, 1, FOLLOWERS), say)
        for server, setup in itertools.product(SERVERS, FOLLOWED)
    ]
    idle = measured(IDLE_SETUP, IDLE, say)
    minutes = (time.monotonic() - began) / 60
    parts = [
        f"One run each, {minutes:.0f} minutes together.",
        table(STREAM_COLUMNS, map(stream_cells, streams)),
        table(RATIO_COLUMNS, ratios(streams)),
        table(FOLLOWER_COLUMNS, map(follower_cells, followers)),
        table(IDLE_COLUMNS, [idle_cells(idle)]),
    ]
    return "\n\n".join(parts)


def measured(setup: Setup, load: Load, say: Callable[[str], None]) -> Row:
    say(f"{setup} {load}")
    try:
        # The second round is for the followers' reads of the database.
        again = load.followers > 0 and setup.database == "postgres"
        return Row(setup, load, series(setup, load, 1, say=say, again=again))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
        # The table comes at the end only.
        say(f"It failed. {failure}")
        return Row(setup, load, failure=failure)


# --- Tables

STREAM_COLUMNS = (
    "server, streams",
    "processes",
    "web + worker CPU",
    "of it web / worker",
    "PostgreSQL",
    "Redis",
    "latency p50 / p99",
    "first token p50",
    "tokens/s",
    "lost, doubled, reordered",
)
RATIO_COLUMNS = ("server, streams", "processes", "times embedded", f"reached (≤ {RATIO})")
FOLLOWER_COLUMNS = (
    "server",
    "processes",
    "web CPU a frame and tab",
    "frames/s",
    "latency p50 / p99",
    "memory an open tab",
    "reads an append, by process",
    "lost, doubled, reordered",
)
IDLE_COLUMNS = (
    "server",
    "processes",
    "open tabs",
    "web CPU a tab and minute",
    "PostgreSQL",
    "web without tabs, a second",
    "memory an open tab",
)


def table(columns: Iterable[str], rows: Iterable[list[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def stream_cells(row: Row) -> list[str]:
    names = [f"{row.setup.server}, {row.load.streams}", processes(row.setup)]
    if row.failure:
        return failed(names, row, STREAM_COLUMNS)
    cpu = row.figures["cpu_ms_by_part"]
    return [
        *names,
        f"**{row.figures['cpu_ms_per_1000_tokens']:.0f} ms**",
        f"{cpu['web']:.0f} / {cpu['worker']:.0f}" if "worker" in cpu else "",
        f"{cpu['postgres']:.0f}" if "postgres" in cpu else "",
        f"{cpu['redis']:.0f}" if "redis" in cpu else "",
        latency(row),
        f"{row.figures['first_token_ms']['p50']:.0f} ms",
        f"{row.figures['tokens_per_second']:.0f}",
        wrong(row),
    ]


def follower_cells(row: Row) -> list[str]:
    names = [row.setup.server, processes(row.setup)]
    if row.failure:
        return failed(names, row, FOLLOWER_COLUMNS)
    reads = row.figures.get("reads_per_append") or {}
    frame_us = row.figures["web_cpu_us_per_frame"]
    return [
        *names,
        "none came" if frame_us is None else f"**{frame_us:.0f} µs**",
        f"{row.figures['frames_per_second']:.0f}",
        latency(row),
        f"{row.figures['rss_kib_per_open_tab']:.0f} KiB",
        ", ".join(f"{name} {count:.2f}" for name, count in reads.items()) or "not counted",
        wrong(row),
    ]


def idle_cells(row: Row) -> list[str]:
    names = [row.setup.server, processes(row.setup), str(row.load.streams)]
    if row.failure:
        return failed(names, row, IDLE_COLUMNS)
    tab = row.figures["idle_cpu_ms_per_tab_minute"]
    return [
        *names,
        f"**{tab['web']:.1f} ms**",
        f"{tab['postgres']:.1f} ms",
        f"{row.figures['alone_cpu_ms_per_second']['web']:.1f} ms",
        f"{row.figures['rss_kib_per_open_tab']:.0f} KiB",
    ]


def ratios(rows: Iterable[Row]) -> list[list[str]]:
    """The distributed rows against the embedded one on the same PostgreSQL."""
    found = []
    embedded = {}
    for row in rows:
        load = (row.setup.server, row.load.streams)
        cpu = row.figures.get("cpu_ms_per_1000_tokens")
        if row.setup.database != "postgres" or cpu is None:
            continue
        if not row.setup.workers:
            embedded[load] = cpu
        elif load in embedded:
            ratio = cpu / embedded[load]
            names = [f"{load[0]}, {load[1]}", processes(row.setup)]
            found.append([*names, f"**{ratio:.2f}**", "yes" if ratio <= RATIO else "no"])
    return found


def processes(setup: Setup) -> str:
    parts = ["PostgreSQL" if setup.database == "postgres" else "SQLite"]
    if setup.is_shared or setup.redis:
        parts.append("Redis")
    parts.append(f"{setup.webs} web")
    if setup.workers:
        parts.append(f"{setup.workers} worker")
    return " + ".join(parts)


def latency(row: Row) -> str:
    found = row.figures["latency_ms"]
    return f"{found['p50']:.0f} / {found['p99']:.0f} ms"


def wrong(row: Row) -> str:
    counts = ", ".join(str(row.figures[name]) for name in ("lost", "doubled", "reordered"))
    return "; ".join([counts, *row.figures["errors"]])


def failed(names: list[str], row: Row, columns: Iterable[str]) -> list[str]:
    cells = [*names, f"failed: {row.failure}"]
    return cells + [""] * (len(list(columns)) - len(cells))

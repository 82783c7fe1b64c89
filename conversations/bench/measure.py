"""One run of the benchmark, and the medians of several."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from streaming.generators import get_generator

from ..actions import GENERATOR
from .page import plain_text
from .processes import cpu_seconds, reset_peak, rss_mib
from .site import Guests, Site

WARM_UP_TOKENS = 20
# What the server frees after the last socket has closed, it frees within this time.
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Load:
    """What is asked of the server."""

    streams: int
    tokens: int
    # Tokens a second and stream.
    rate: float
    # Tabs of each guest that follow the same answer.
    tabs: int = 1
    shape: str = "mixed"


def measure(
    site: Site, root: Path, command: str, load: Load, *, growth: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """One run on a fresh server; with `growth` a second round tells what memory is kept."""
    with site.serving(command) as (pid, url):
        idle = rss_mib(pid)
        # What a first answer loads (templates, modules) is no cost of a stream.
        warm_up = Load(streams=1, tokens=min(WARM_UP_TOKENS, load.tokens), rate=load.rate)
        play(root, pid, url, warm_up)
        warm = rss_mib(pid)
        reset_peak(pid)
        result = play(root, pid, url, load)
        peak = rss_mib(pid, "VmHWM")
        time.sleep(SETTLE_SECONDS)
        after = rss_mib(pid)
        figures = summary(site, load, result) | {
            "rss_mib_idle": idle,
            "rss_mib_warm": warm,
            "rss_mib_peak": peak,
            "rss_mib_after": after,
            "rss_kib_per_stream": max(peak - warm, 0) * 1024 / load.streams,
        }
        if growth:
            say("second round, for the memory that is kept")
            play(root, pid, url, load)
            time.sleep(SETTLE_SECONDS)
            figures["rss_growth_mib"] = rss_mib(pid) - after
    return figures


def play(root: Path, pid: int, url: str, load: Load) -> dict[str, Any]:
    """Let the guests come and ask; what they saw, and the server's CPU seconds meanwhile."""
    options = {
        "streams": load.streams,
        "tabs": load.tabs,
        "tokens": load.tokens,
        "rate": load.rate,
    }
    guests = Guests(root, url, options)
    try:
        guests.wait_for("ready")
        before, began = cpu_seconds(pid), time.monotonic()
        guests.go()
        guests.wait_for("ended")
        cpu, took = cpu_seconds(pid) - before, time.monotonic() - began
        return guests.wait_for("result") | {"cpu_seconds": cpu, "seconds": took}
    finally:
        guests.end()


def summary(site: Site, load: Load, result: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run, from what its guests saw."""
    guests = result["guests"]
    generated = load.streams * load.tokens
    first = [one["first_token_ms"] for one in guests if one["first_token_ms"] is not None]
    return {
        "cpu_ms_per_1000_tokens": result["cpu_seconds"] * 1e6 / generated,
        "tokens_per_second": generated / result["seconds"],
        "latency_ms": percentiles([value for one in guests for value in one["latencies"]]),
        "first_token_ms": percentiles(first),
        "bytes_per_token": sum(one["frame_bytes"] for one in guests) / generated / load.tabs,
        "lost": sum(one["lost"] for one in guests),
        "doubled": sum(one["doubled"] for one in guests),
        "reordered": sum(one["reordered"] for one in guests),
        "errors": counted(result["errors"] + differences(site, guests)),
    }


def differences(site: Site, guests: list[dict[str, Any]]) -> list[str]:
    """What is wrong in each tab: an end that is not `done`, or not the stored text in one go."""
    renderer = get_generator(GENERATOR).renderer
    found = []
    for guest in guests:
        for stream, words in guest["bodies"]:
            text, ended = site.stored(stream)
            if not ended.startswith("done"):
                found.append(f"the answer ended as {ended}")
            if words != plain_text(renderer.render(text)):
                found.append("a tab does not show the stored text")
    return found


def counted(sentences: Sequence[str]) -> list[str]:
    """Each different sentence once, with how often it was said."""
    return [f"{number} x {sentence}" for sentence, number in Counter(sentences).items()]


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Median and 99th percentile (the smallest value that 99 % do not exceed)."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None}
    return {"p50": median(ordered), "p99": ordered[-(-99 * len(ordered) // 100) - 1]}


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the runs that have it; errors of all runs together."""
    result: dict[str, Any] = {}
    for name in runs[0]:
        found = [run[name] for run in runs if run.get(name) is not None]
        if name in ("lost", "doubled", "reordered", "errors"):
            result[name] = sum(found[1:], found[0])
        elif isinstance(found[0], dict):
            result[name] = medians(found)
        else:
            result[name] = round(median(found), 2)
    return result

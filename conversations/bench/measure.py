"""One run of the benchmark."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from streaming.generators import get_generator

from ..actions import GENERATOR
from .page import plain_text
from .processes import cpu_seconds, reset_peak, rss_mib
from .site import Guests, Running, Site
from .statements import logged, reads

WARM_UP_TOKENS = 20
# What the server frees after the last socket has closed, it frees within this time.
SETTLE_SECONDS = 2.0
# What the processes do without any page is measured for at most so long.
ALONE_SECONDS = 20.0
# Sockets of one person beyond those that the load asks for: the warm-up's, a page's that leaves.
SPARE_SOCKETS = 50


@dataclass(frozen=True)
class Load:
    """What is asked of the site."""

    streams: int
    tokens: int
    # Tokens a second and stream.
    rate: float
    # Tabs of each guest that follow the same answer.
    tabs: int = 1
    # Sockets without a page that follow the first answer too.
    followers: int = 0
    # Seconds in which all tabs are open and nobody asks, before the answers.
    idle: float = 0
    shape: str = "mixed"

    @property
    def settings(self) -> dict[str, str]:
        """What the site must be told to bear this load of one person."""
        sockets = str(self.followers + self.tabs + SPARE_SOCKETS)
        return {"STREAMING_MAX_SOCKETS_PER_USER": sockets} if self.followers else {}


def measure(site: Site, load: Load, *, again: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """One run on a fresh site.

    `again` asks for a second round, which tells what memory is kept and, with PostgreSQL, how often
    each process reads the database.
    """
    with site.serving() as running:
        pids = running.site
        idle = rss_mib(pids)
        # What a first answer loads (templates, modules) is no cost of a stream.
        warm_up = Load(streams=len(pids), tokens=min(WARM_UP_TOKENS, load.tokens), rate=load.rate)
        play(running, warm_up)
        warm = rss_mib(pids)
        alone = running.cpu_over(min(ALONE_SECONDS, load.idle)) if load.idle else {}
        reset_peak(pids)
        result = play(running, load)
        peak = rss_mib(pids, "VmHWM")
        time.sleep(SETTLE_SECONDS)
        after = rss_mib(pids)
        figures = summary(running, load, result) | {
            "rss_mib_idle": idle,
            "rss_mib_warm": warm,
            "rss_mib_peak": peak,
            "rss_mib_after": after,
            "rss_kib_per_stream": max(peak - warm, 0) * 1024 / load.streams,
            "rss_kib_per_open_tab": max(result["rss_mib_ready"] - warm, 0)
            * 1024
            / (load.streams + load.followers),
        }
        if load.idle:
            # What the processes do by themselves is no tab's.
            figures["alone_cpu_ms_per_second"] = {
                part: seconds * 1000 for part, seconds in alone.items()
            }
            figures["idle_cpu_ms_per_tab_minute"] = {
                part: (seconds - alone[part]) * 60_000 / (load.streams * load.tabs + load.followers)
                for part, seconds in result["idle_cpu"].items()
            }
        if again:
            say("second round, for the memory that is kept and the statements")
            if running.postgres:
                with logged(running.postgres):
                    figures["reads_per_append"] = play(running, load)["reads_per_append"]
            else:
                play(running, load)
            time.sleep(SETTLE_SECONDS)
            figures["rss_growth_mib"] = rss_mib(pids) - after
    return figures


def play(running: Running, load: Load) -> dict[str, Any]:
    """Let the guests come and ask; what they saw, and what the parts of the site did meanwhile."""
    options = {
        "streams": load.streams,
        "tabs": load.tabs,
        "followers": load.followers,
        "tokens": load.tokens,
        "rate": load.rate,
    }
    guests = Guests(running.urls, options)
    try:
        guests.wait_for("ready")
        rss_ready = rss_mib(running.site)
        idle_cpu = running.cpu_over(load.idle) if load.idle else {}
        began = Moment.now(running, guests)
        guests.go()
        frames = guests.wait_for("flowing")["frames"]
        flowing = Moment.now(running, guests)
        frames = guests.wait_for("ended")["frames"] - frames
        ended = Moment.now(running, guests)
        return guests.wait_for("result") | {
            "rss_mib_ready": rss_ready,
            "idle_cpu": idle_cpu,
            "cpu_seconds": ended.cpu_since(began),
            "seconds": ended.time - began.time,
            "flowing_cpu_seconds": ended.cpu_since(flowing),
            "flowing_seconds": ended.time - flowing.time,
            "flowing_frames": frames,
            "reads_per_append": ended.reads_per_append_since(flowing, running),
        }
    finally:
        guests.end()


@dataclass(frozen=True)
class Moment:
    """What the counters say at one moment of a run."""

    time: float
    cpu: dict[str, float]
    # Committed pieces of text, and where PostgreSQL's log ends.
    appends: int
    log_size: int

    @classmethod
    def now(cls, running: Running, guests: Guests) -> Moment:
        cpu = running.cpu() | {"guests": cpu_seconds([guests.process.pid])}
        moment = time.monotonic()
        ((appends,),) = running.query("SELECT count(*) FROM streaming_chunk")
        log = running.postgres.log if running.postgres else None
        return cls(moment, cpu, appends, log.stat().st_size if log else 0)

    def cpu_since(self, before: Moment) -> dict[str, float]:
        return {part: self.cpu[part] - before.cpu[part] for part in self.cpu}

    def reads_per_append_since(self, before: Moment, running: Running) -> dict[str, float]:
        """Reads of the database by process; empty unless PostgreSQL logs its statements."""
        if not running.postgres:
            return {}
        with running.postgres.log.open("rb") as log:
            log.seek(before.log_size)
            lines = log.read(self.log_size - before.log_size).decode(errors="replace")
        counts = reads(lines.splitlines())
        appends = max(1, self.appends - before.appends)
        return {name: count / appends for name, count in sorted(counts.items()) if name != "bench"}


def summary(running: Running, load: Load, result: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run, from what its guests saw."""
    guests = result["guests"]
    generated = load.streams * load.tokens
    frames = result["flowing_frames"]
    first = [one["first_token_ms"] for one in guests if one["first_token_ms"] is not None]
    cpu = {part: seconds * 1e6 / generated for part, seconds in result["cpu_seconds"].items()}
    return {
        "cpu_ms_per_1000_tokens": cpu["web"] + cpu.get("worker", 0.0),
        "cpu_ms_by_part": cpu,
        # None when all frames came before the last tab had its first one.
        "web_cpu_us_per_frame": result["flowing_cpu_seconds"]["web"] * 1e6 / frames
        if frames
        else None,
        "web_cores": result["cpu_seconds"]["web"] / result["seconds"],
        "guests_cores": result["cpu_seconds"]["guests"] / result["seconds"],
        "frames_per_second": frames / result["flowing_seconds"],
        "tokens_per_second": generated / result["seconds"],
        "latency_ms": percentiles([value for one in guests for value in one["latencies"]]),
        "first_token_ms": percentiles(first),
        "bytes_per_token": sum(one["frame_bytes"] for one in guests)
        / (generated * load.tabs + load.followers * load.tokens),
        "lost": sum(one["lost"] for one in guests),
        "doubled": sum(one["doubled"] for one in guests),
        "reordered": sum(one["reordered"] for one in guests),
        "errors": counted(result["errors"] + differences(running, guests)),
    }


def differences(running: Running, guests: list[dict[str, Any]]) -> list[str]:
    """What is wrong in each tab: an end that is not `done`, or not the stored text in one go."""
    renderer = get_generator(GENERATOR).renderer
    found = []
    for guest in guests:
        for stream, words in guest["bodies"]:
            text, ended = running.stored(stream)
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

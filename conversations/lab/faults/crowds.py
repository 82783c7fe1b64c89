"""A thousand tabs: on one answer, and all coming back at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from conversations.bench.statements import logged, reads

from ..crowd import LightTab, apply_kept
from ..dom import Element, parse
from ..lags import lags, percentile
from ..run import Run
from ..site import start_all
from ..watched import Watched
from . import fault
from .databases import WORKERS_OWN, watch_connections

CROWD, ARRIVALS_AT_ONCE, ARRIVAL_SECONDS = 1_000, 25, 15.0
ROOM = {"STREAMING_MAX_SOCKETS_PER_USER": str(2 * CROWD)}
POOL_SIZE = 8
READS_PER_APPEND = 2


@fault("F27", "1,000 tabs on one answer", variables=ROOM)
async def crowd(run: Run) -> None:
    """Nothing is lost in any; text is seen within 0.5 s of its commit (p95), 1 s (p99); a process
    reads the database twice for an append at most, whatever the number of tabs."""
    late: list[float] = []
    # The second is for the statements: to log them takes PostgreSQL's time.
    for is_counted in (False, True) if run.site.postgres else (False,):
        (watched,) = await run.ask(1, tokens=400, delay=ARRIVAL_SECONDS, observers=("sse",))
        page = (await watched.person.ask_for(watched.path)).text
        place = place_of(page, watched)
        tabs = [LightTab(watched) for _ in range(CROWD)]
        for tab in tabs:
            tab.draw(place)
        await gather(run, tabs)
        for tab in tabs:
            tab.may_follow.set()
        if is_counted:
            await count_reads(run, watched)
        else:
            await run.until_over(120)
            late += [lag.seconds for lag in lags(run.site.store, [watched], 0)]
        await apply_kept(watched, tabs, page)
    run.samples = len(run.tabs)
    p95, p99 = percentile(late, 0.95), percentile(late, 0.99)
    run.recovery += late
    run.expect(late and p95 <= run.limit(0.5), f"text is seen after {p95:.2f} s (p95)")
    run.expect(p99 <= run.limit(1), f"text is seen after {p99:.2f} s (p99)")


async def gather(run: Run, tabs: Sequence[LightTab]) -> None:
    """Let the tabs connect, some at a time."""
    run.tabs += tabs
    for first in range(0, len(tabs), ARRIVALS_AT_ONCE):
        some = tabs[first : first + ARRIVALS_AT_ONCE]
        for tab in some:
            run.spawn(tab.run())
        await run.until(partial(all_connected, some), "tabs connect", 60)


def all_connected(tabs: Sequence[LightTab]) -> bool:
    return all(tab.sockets for tab in tabs)


def place_of(page: str, watched: Watched) -> Element:
    place = parse(page).find(f"stream-{watched.stream}")
    assert place is not None
    return place


async def count_reads(run: Run, watched: Watched) -> None:
    """Read PostgreSQL's log of statements while the answer comes."""
    postgres = run.site.postgres
    assert postgres is not None
    await run.until(lambda: watched.sights[0].growth, "the answer begins", 60)
    with logged(postgres):
        started, first = len(postgres.output()), run.site.store.length(watched.stream) or 0
        await run.until(
            lambda: watched.sights[0].length >= 0.8 * len(watched.oracle), "most of it", 60
        )
        counts = reads(postgres.output()[started:].splitlines())
        last = run.site.store.length(watched.stream) or 0
    await run.until_over(120)
    appends = sum(
        first < start + len(text) <= last
        for start, text, _ in run.site.store.chunks(watched.stream)
    )
    run.expect(appends > 10, f"only {appends} appends were made meanwhile")
    # What the lab itself asks has no such name.
    for name in [process.name for process in run.site.processes]:
        each = counts.get(name, 0) / max(1, appends)
        run.expect(each <= READS_PER_APPEND, f"{name} read {each:.1f} times for an append")


@fault(
    "F28",
    "the web processes restart under 1,000 tabs",
    variables=ROOM
    | {
        "DATABASE_POOL_SIZE": str(POOL_SIZE),
        "DATABASE_POOL_SECONDS": "20",
    },
)
async def storm(run: Run) -> None:
    """All are back within 10 s after the servers listen, none was answered 5xx, and no process
    holds more connections than its pool may."""
    site = run.site
    # The first byte comes when all are there. Slow answers: tabs that are back are pushed to while
    # others still come, and what a thousand take of this machine is F27's business.
    answers = await run.ask(tokens=60, rate=1.5, delay=ARRIVAL_SECONDS, observers=("tab", "sse"))
    tabs: list[LightTab] = []
    for watched in answers:
        place = place_of((await watched.person.ask_for(watched.path)).text, watched)
        mine = [LightTab(watched) for _ in range(CROWD // len(answers))]
        for tab in mine:
            tab.draw(place)
            tab.may_follow.set()
        tabs += mine
    await gather(run, tabs)
    await run.until(lambda: all(tab.sight.growth for tab in tabs), "all see text", 60)
    most = POOL_SIZE * len(site.processes) + WORKERS_OWN * len(site.workers)
    watching = run.spawn(watch_connections(run, most))
    await asyncio.gather(*(run.do(web.stop) for web in site.webs))
    await run.do(start_all, site.webs)
    listening = time.monotonic()
    before = [len(tab.sight.lost_at) for tab in tabs]
    await run.until(
        lambda: all(len(tab.sight.back_at) == len(tab.sight.lost_at) for tab in tabs),
        "all are back",
        run.limit(10),
    )
    run.recovery += [
        max(0.0, tab.sight.back_at[-1] - listening) for tab in tabs if tab.sight.back_at
    ]
    run.expect(all(before), "a tab did not lose its socket")
    refusals = [status for tab in tabs for status in tab.refusals if status >= 500]
    run.expect(not refusals, f"{len(refusals)} handshakes were answered {set(refusals)}")
    await run.until_over(120)
    watching.cancel()
    # A server that generates cuts at the end of its drain what cannot be carried on.
    run.complete = bool(site.workers)
    run.samples = len(tabs)

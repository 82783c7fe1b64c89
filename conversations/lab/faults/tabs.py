"""Tabs that lose the network, freeze, or never read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from streaming.conf import conf

from ..apart import Apart, apart
from ..forwarder import Forwarder
from ..lags import lags, percentile
from ..process import destroying
from ..run import ANSWERS, Run
from ..sockets import deaf_socket, established
from ..tab import SOCKET_PATH, Tab
from . import fault
from .answers import resident
from .processes import expect_caught_up

MIB = 1024 * 1024
# Slow answers last; what is seen of them at once is the same as of fast ones.
SLOW_RATE = 10.0
FROZEN_SECONDS = 60.0
DEAF, DEAF_CHARS = 100, 500_000
CLOSED_SECONDS = 60.0


@fault("F5", "a browser is stopped for 60 s")
async def freeze(run: Run) -> None:
    """It costs the server 1 MiB at most for each of its tabs; the others' lag (p99) grows by a
    fifth, or the tick in which frames go, at most; woken, it has all within 2 s."""
    before, frozen = run.scaled(20), run.scaled(FROZEN_SECONDS)
    await run.ask(tokens=int((before + frozen + 15) * SLOW_RATE), rate=SLOW_RATE)
    # Two browsers, because the machine has two cores to wake them with.
    browsers: list[Apart] = []
    with ExitStack() as stack:
        for half in (run.answers[::2], run.answers[1::2]):
            frozen_tabs = apart(half, run.site.webs, run.site.env["DATABASE_URL"])
            browsers.append(await run.do(stack.enter_context, frozen_tabs))
        for browser in browsers:
            await run.do(browser.wait_until_flowing)
        flowing = time.monotonic()
        await asyncio.sleep(before)
        memory = sum(resident(web) for web in run.site.webs)
        for browser in browsers:
            browser.stop()
        stopped = time.monotonic()
        grown = 0
        while time.monotonic() < stopped + frozen:
            grown = max(grown, sum(resident(web) for web in run.site.webs) - memory)
            await asyncio.sleep(0.5)
        for browser in browsers:
            browser.resume()
        woken = time.monotonic()
        stored = {one.stream: run.site.store.length(one.stream) or 0 for one in run.answers}
        await run.until_over()
        usual, meanwhile = (
            percentile([lag.seconds for lag in lags(run.site.store, run.answers, *times)], 0.99)
            for times in ((flowing, stopped), (stopped, woken))
        )
        sights = [
            (stored[watched.stream], sight)
            for browser in browsers
            for watched, sight in zip(
                browser.answers, await run.do(browser.take_sights), strict=True
            )
        ]
    run.expect(grown <= len(run.answers) * MIB, f"the server grew by {grown / MIB:.1f} MiB")
    run.expect(
        meanwhile <= run.limit(max(1.2 * usual, usual + conf.TICK_SECONDS)),
        f"the others lag by {meanwhile:.3f} s (p99), before by {usual:.3f} s",
    )
    for length, sight in sights:
        caught_up = next((at for at, seen in sight.growth if seen >= length), sight.ended_at)
        run.recovery.append(caught_up - woken)
    late = max(run.recovery)
    run.expect(late <= run.limit(2), f"a woken tab had all after {late:.1f} s")


@fault(
    "F6",
    "100 tabs handshake, follow and never read",
    variables={
        "STREAMING_MAX_SOCKETS_PER_USER": str(DEAF + 10),
        "STREAMING_MAX_CHARS": str(4 * DEAF_CHARS),
    },
)
async def never_read(run: Run) -> None:
    """They cost the servers 100 MiB at most together, and each is closed within 60 s; others see
    text within 0.5 s of its commit (p99)."""
    others = await run.ask(tokens=int(run.scaled(75) * SLOW_RATE) + 50, rate=SLOW_RATE)
    # It has ended before they come, so that all of it is theirs to read. Each web process has shown
    # it once: what it costs a process is not what a tab costs.
    (large,) = await run.ask(
        1, tokens=DEAF_CHARS // 8, per_event=500, observers=("late-tab", "late-tab", "sse")
    )
    await run.until(lambda: large.is_over, "the large answer ends", 60)
    cookie = "; ".join(f"{one.key}={one.value}" for one in large.person.http.cookie_jar)
    messages = (
        {"type": "hello", "generation": 1},
        {"type": "follow", "stream": large.stream, "cut": -1, "key": ""},
    )
    webs = run.site.webs
    memory = sum(resident(web) for web in webs)
    opened: list[tuple[int, int]] = []
    began = time.monotonic()
    with ExitStack() as stack:
        for number in range(DEAF):
            port = webs[number % len(webs)].port
            deaf = await run.do(deaf_socket, port, SOCKET_PATH, cookie, messages)
            opened.append((port, stack.enter_context(deaf).getsockname()[1]))
        all_open = time.monotonic()
        grown = 0

        def closed() -> bool:
            nonlocal grown
            grown = max(grown, sum(resident(web) for web in webs) - memory)
            held = {(web.port, client) for web in webs for client in established(web.port)}
            return not held & set(opened)

        # Of the last one's opening; the first had as long.
        await run.until(closed, "all are closed", run.limit(CLOSED_SECONDS), every=1)
    run.recovery.append(time.monotonic() - all_open)
    run.samples = len(opened)
    run.expect(grown <= DEAF * MIB, f"the servers grew by {grown / MIB:.1f} MiB")
    late = percentile([lag.seconds for lag in lags(run.site.store, others, began)], 0.99)
    run.expect(late <= run.limit(0.5), f"the others lag by {late:.2f} s (p99)")
    await run.until_over(120)


@fault("F25", "tabs are offline for 60 s, three times in one answer")
async def offline(run: Run) -> None:
    """Each time they have everything within 2 s after they are online, without a reload."""
    away = run.scaled(FROZEN_SECONDS)
    between = run.scaled(3)
    await run.ask(
        tokens=int(3 * (away + between + 2) * SLOW_RATE) + 30,
        rate=SLOW_RATE,
        observers=("tab",),
    )
    await run.moment(0.01, 0.03)
    for _ in range(3):
        for tab in run.tabs:
            tab.go_offline()
        await asyncio.sleep(away)
        stored = [run.site.store.length(one.stream) or 0 for one in run.answers]
        for tab in run.tabs:
            tab.go_online()
        online = time.monotonic()
        await run.until(partial(have_seen, run, stored), "the tabs catch up", run.limit(5))
        run.recovered(online, within=run.limit(2))
        expect_caught_up(run, online, stored)
        await asyncio.sleep(between)
    run.expect(all(tab.sockets >= 4 for tab in run.tabs), "a tab was not offline")
    await run.until_over()


def have_seen(run: Run, lengths: Sequence[int]) -> bool:
    return all(
        sight.length >= length
        for watched, length in zip(run.answers, lengths, strict=True)
        for sight in watched.sights
    )


@dataclass
class Route:
    """How people reach a server."""

    url: str


@fault("F26", "half-open connections: the path is stopped, another one works")
async def half_open(run: Run) -> None:
    """Tabs notice within 20 s and are back within 2 s by the other path; the server has let go of
    the dead connections within 60 s."""
    site = run.site
    with ExitStack() as stack:
        paths = [
            Forwarder(site.folder, web.port, name=f"path{number}")
            for number, web in enumerate(site.webs)
        ]
        for path in paths:
            stack.enter_context(destroying(path)).start()
        routes = [Route(path.url) for path in paths]
        run.fronts = routes
        await run.ask(tokens=int(40 * SLOW_RATE), rate=SLOW_RATE, observers=("tab",))
        await run.moment(0.05, 0.2)
        dead = {(web.port, client) for web in site.webs for client in established(web.port)}
        for path in paths:
            path.pause()
        stopped = time.monotonic()
        for route, web in zip(routes, site.webs, strict=True):
            route.url = web.url
        run.expect(len(dead) >= ANSWERS, f"only {len(dead)} connections were open")

        def is_free() -> bool:
            held = {(web.port, client) for web in site.webs for client in established(web.port)}
            return not held & dead

        await run.until(
            is_free, "the server lets go of the dead connections", run.limit(60), every=1
        )
        await run.until_over()
        for tab in run.tabs:
            expect_noticed(run, tab, stopped)


def expect_noticed(run: Run, tab: Tab, stopped: float) -> None:
    watched, sight = tab.watched, tab.sight
    if not (sight.lost_at and sight.back_at):
        run.problems.append(f"{watched.name}: the tab did not come back")
        return
    noticed, back = sight.lost_at[0] - stopped, sight.back_at[0] - sight.lost_at[0]
    run.recovery.append(back)
    run.expect(noticed <= 20, f"{watched.name}: noticed after {noticed:.1f} s")
    run.expect(
        back <= run.limit(2),
        f"{watched.name}: noticed after {noticed:.1f} s, back {back:.1f} s later"
        f" with socket {tab.sockets}",
    )

"""Processes that die, stop, and come back."""

from __future__ import annotations

import asyncio
import time

from ..run import Run
from ..services import Process
from ..site import CARRIES_ON
from . import fault


@fault("F1", "kill -9 of a generator")
async def kill_generator(run: Run) -> None:
    """What was seen is stored; answers carry on or end, with their text, within 15 s."""
    await run.ask()
    await run.moment()
    generator = run.chance.choice(run.site.generators)
    seen = {one.stream: max(s.length for s in one.sights) for one in run.answers}
    await run.do(generator.kill9)
    killed = time.monotonic()
    for watched in run.answers:
        stored = run.site.store.length(watched.stream)
        run.expect(
            stored is not None and stored >= seen[watched.stream],
            f"{watched.name}: {seen[watched.stream]} were seen, {stored} are stored",
        )
    if not run.site.workers:
        await start_again(run, generator)
        killed = time.monotonic()
    await run.until_over()
    run.complete = False
    run.recovered(killed, within=run.limit(15))
    expect_ends(run)


async def start_again(run: Run, process: Process) -> None:
    await run.do(process.start)


def expect_ends(run: Run) -> None:
    """Carried-on answers are whole; the others whole too, or `timeout` with a prefix."""
    for watched in run.answers:
        row = run.site.store.row(watched.stream)
        assert row is not None
        if row.status == "done":
            run.expect(row.length == len(watched.oracle), f"{watched.name}: done with {row.length}")
        else:
            run.expect(
                (row.status, row.reason) == ("timeout", "lost")
                and watched.name not in carrying_on(run),
                f"{watched.name}: ended {row.status} ({row.reason})",
            )


def carrying_on(run: Run) -> set[str]:
    """The names of the answers whose provider goes on after a prefix: every second one."""
    return {watched.name for watched in run.answers if int(watched.name[1:]) % 2 == 0}


@fault("F3", "kill -9 of the web server, back after 1 s")
async def kill_web(run: Run) -> None:
    """Tabs go on by themselves; with workers the text grows meanwhile."""
    # Long enough to go on after the restart.
    await run.ask(tokens=750)
    await run.moment(0.1, 0.3)
    web = run.site.webs[0]
    await run.do(web.kill9)
    await asyncio.sleep(1)
    await start_again(run, web)
    listening = time.monotonic()
    await run.until_over()
    run.complete = bool(run.site.workers)
    run.recovered(listening, within=run.limit(2 if run.site.workers else 15))
    expect_ends(run)


@fault("F2", "SIGTERM of a generator")
async def terminate_generator(run: Run) -> None:
    """It ends within 35 s with exit code 0; answers end, or go on elsewhere or after its return."""
    await run.ask(tokens=600)
    await run.moment(0.1, 0.4)
    generator = run.chance.choice(run.site.generators)
    asked = time.monotonic()
    code = await run.do(generator.stop)
    run.expect(code == 0, f"the exit code was {code}")
    run.expect(time.monotonic() - asked <= run.limit(35), "it took too long to end")
    await start_again(run, generator)
    await run.until_over()
    run.complete = False
    run.recovered(asked, within=run.limit(15))
    expect_ends(run)


@fault("F4", "five rolling restarts of the web processes")
async def roll(run: Run) -> None:
    """Every tab is back within 2 s after its server listens, and every answer is whole."""
    await run.ask(tokens=3_000, models=(CARRIES_ON,))
    await run.moment(0.02, 0.05)
    for _ in range(5):
        for web in run.site.webs:
            await run.do(web.stop)
            await start_again(run, web)
            listening = time.monotonic()
            await run.until(
                lambda since=listening: all(  # type: ignore[misc]
                    sight.grew_after(since) or sight.status
                    for watched in run.answers
                    for sight in watched.sights
                ),
                "the tabs are back",
                run.limit(2 if run.site.workers else 15),
            )
            run.recovery.append(time.monotonic() - listening)
    await run.until_over(120)

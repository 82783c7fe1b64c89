"""Processes that are killed or asked to end, and come back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from ..provider import Call
from ..run import RATE, Run
from ..site import STARTS_ANEW, start_all
from ..texts import tokens
from ..watched import Watched
from . import fault

# What a killed generator may have read from its provider and not stored.
UNSTORED_CHARS = 256
DRAIN_SECONDS, STOP_SECONDS = 30.0, 35.0


@fault("F1", "kill -9 of a generator")
async def kill_generator(run: Run) -> None:
    """What was seen is stored, and all but 256 characters of what the provider had said; answers
    carry on or end, with their text and a button to retry, within 15 s."""
    await run.ask()
    await run.moment()
    generator = run.chance.choice(run.site.generators)
    seen = {one.stream: max(s.length for s in one.sights) for one in run.answers}
    said = {call.name: call.tokens for call in run.site.provider_calls()}
    await run.do(generator.kill9)
    killed = time.monotonic()
    # How much is on its way is a matter of time, which a short run's machine has less of.
    most = 10 * UNSTORED_CHARS if run.short else UNSTORED_CHARS
    for watched in run.answers:
        stored = run.site.store.length(watched.stream) or 0
        run.expect(
            stored >= seen[watched.stream],
            f"{watched.name}: {seen[watched.stream]} were seen, {stored} are stored",
        )
        unstored = len("".join(tokens(watched.name, said[watched.name]))) - stored
        run.expect(unstored <= most, f"{watched.name}: {unstored} were not stored")
    if not run.site.workers:
        await run.do(generator.start)
        killed = time.monotonic()
    await run.until_over()
    run.complete = False
    run.recovered(killed, within=run.limit(15))
    expect_ends(run)
    lost = {one.name for one in run.answers if has_ended(run, one, "timeout")}
    run.expect(
        lost or run.site.workers, "no answer was lost, which the death of the one process must do"
    )
    for tab in run.tabs:
        forms = [one.get("hx-post") for one in tab.document.with_attribute("hx-post")]
        run.expect(
            tab.watched.name not in lost or any(form.endswith("/retry/") for form in forms),
            f"{tab.watched.name}: the tab has no button to retry",
        )


def expect_ends(run: Run) -> None:
    """Carried-on answers are whole; the others whole too, or `timeout` with a prefix."""
    for watched in run.answers:
        row = run.site.store.row(watched.stream)
        assert row is not None
        if row.status == "done":
            run.expect(row.length == len(watched.oracle), f"{watched.name}: done with {row.length}")
        else:
            run.expect(
                (row.status, row.reason) == ("timeout", "lost") and not carries_on(watched),
                f"{watched.name}: ended {row.status} ({row.reason})",
            )


def carries_on(watched: Watched) -> bool:
    """Whether its provider goes on after a prefix."""
    return watched.model != STARTS_ANEW


def has_ended(run: Run, watched: Watched, status: str) -> bool:
    row = run.site.store.row(watched.stream)
    return row is not None and row.status == status


@fault("F2", "SIGTERM of a generator")
async def terminate_generator(run: Run) -> None:
    """No call of a provider is begun after it; answers that carry on go on elsewhere within 2 s,
    others have 30 s to end and are cut within 1 s then; exit code 0 within 35 s."""
    drain = run.scaled(DRAIN_SECONDS)
    # These outlast the drain, the others end within it.
    long = await run.ask(6, tokens=int((drain + 20) * 10), rate=10, models=(STARTS_ANEW,))
    asked = await run.ask(14, tokens=400, rate=4 * RATE if run.short else RATE)
    await run.moment(0.15, 0.5, asked)
    # One with something of both kinds, of two workers that share them by chance.
    carrying = [one for one in asked if carries_on(one)]
    generators = [
        (generator, calls)
        for generator in run.site.generators
        if (calls := run.site.provider_calls(generator))
        and held_by(calls, long)
        and held_by(calls, carrying)
    ]
    run.expect(generators, "no process had answers of both kinds")
    generator, calls = run.chance.choice(generators)
    outlasting = held_by(calls, long)
    generator.send(signal.SIGTERM)
    terminated = time.monotonic()
    late = [await run.ask(1, tokens=250) for _ in range(2)]
    await run.until(
        lambda: all(has_ended(run, one, "timeout") for one in outlasting),
        "the answers that outlast the drain are cut",
        terminated + drain + 1 - time.monotonic(),
    )
    run.expect(outlasting, "no answer outlasted the drain")
    run.expect(time.monotonic() - terminated > drain - 1, "an answer was cut before the drain")
    code = await run.do(generator.process.wait, 60)
    run.expect(code == 0, f"the exit code was {code}")
    took = time.monotonic() - terminated
    run.expect(took <= run.limit(STOP_SECONDS), f"it took {took:.1f} s to end")
    begun = len(run.site.provider_calls(generator)) - len(calls)
    run.expect(not begun, f"{begun} calls of a provider were begun after it")
    await run.do(generator.start)
    back = time.monotonic()
    await run.until_over()
    run.complete = False
    expect_ends(run)
    within = [one for one in [*asked, *late[0], *late[1]] if not has_ended(run, one, "done")]
    run.expect(not within, f"{[one.name for one in within]} had time to end")
    handed = held_by(calls, carrying)
    if run.site.workers:
        run.steady(terminated, 2, handed)
    else:
        run.recovered(back, 2, handed)
    run.expect(run.recovery, "no answer was handed over")


def held_by(calls: Sequence[Call], answers: Sequence[Watched]) -> list[Watched]:
    """Those of the answers whose call of the provider is open."""
    names = {call.name for call in calls if not call.ended_at}
    return [one for one in answers if one.name in names]


@fault("F3", "kill -9 of the web servers, back after 1 s")
async def kill_webs(run: Run) -> None:
    """Tabs go on by themselves, with new text within 2 s after the servers listen; workers write
    meanwhile. A generator that died with its server goes on, or has ended, within 15 s."""
    # Long enough to go on after the restart.
    await run.ask(tokens=750)
    await run.moment(0.1, 0.3)
    for web in run.site.webs:
        await run.do(web.kill9)
    before = [run.site.store.length(one.stream) or 0 for one in run.answers]
    await asyncio.sleep(1)
    if run.site.workers:
        after = [run.site.store.length(one.stream) or 0 for one in run.answers]
        grew = sum(new > old for old, new in zip(before, after, strict=True))
        run.expect(grew == len(before), f"only {grew} answers grew while no server was there")
    await run.do(start_all, run.site.webs)
    listening = time.monotonic()
    stored = [run.site.store.length(one.stream) or 0 for one in run.answers]
    await run.until_over()
    run.complete = bool(run.site.workers)
    run.recovered(listening, within=2 if run.site.workers else run.limit(15))
    run.expect(run.recovery, "every answer had ended before the servers were back")
    expect_caught_up(run, listening, stored)
    expect_ends(run)


def expect_caught_up(run: Run, listening: float, stored: Sequence[int]) -> None:
    """What was stored when the servers listened again was seen within 2 s."""
    for watched, length in zip(run.answers, stored, strict=True):
        for sight in watched.sights:
            caught_up = next((at for at, seen in sight.growth if seen >= length), sight.ended_at)
            run.expect(
                caught_up <= listening + run.limit(2),
                f"{watched.name} by {sight.observer} caught up after {caught_up - listening:.1f} s",
            )

"""Rolling restarts: what a deployment in the middle of the day does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from ..people import Person
from ..process import Process
from ..run import Run
from ..watched import Sight
from . import fault
from .processes import carries_on

ROUNDS = 5
POSTERS = 2
WRITTEN = "SELECT content FROM conversations_message WHERE content LIKE {}"


@fault("F4", "five rolling restarts of the web processes")
async def restart_webs(run: Run) -> None:
    """Every tab is back within 2 s (with one process: after it listens again); forms that are sent
    meanwhile, each twice with its key, give one message each."""
    sent: set[str] = set()
    enough = asyncio.Event()
    posting = [run.spawn(post_on(run, number, sent, enough)) for number in range(POSTERS)]
    listening = []
    for number in range(ROUNDS):
        asked = await run.ask(4, tokens=400)
        await run.moment(0.05, 0.3, asked)
        for web in run.site.webs:
            away = sum(len(one.lost_at) for one in tabs(run))
            await run.do(restart, run, web)
            listening.append(time.monotonic())
            lost = sum(len(one.lost_at) for one in tabs(run)) - away
            run.expect(lost, f"no tab lost its socket in round {number}")
    await run.until_over()
    enough.set()
    await asyncio.gather(*posting)
    for sight in tabs(run):
        for lost_at, back_at in zip(sight.lost_at, sight.back_at, strict=False):
            # With several servers there is always one that listens.
            since = lost_at if len(run.site.webs) > 1 else first_after(listening, lost_at)
            away_for = max(0.0, back_at - since)
            run.recovery.append(away_for)
            run.expect(away_for <= 2, f"a tab was back after {away_for:.1f} s")
    pattern = "?" if run.site.is_sqlite else "%s"
    rows = run.site.store.ask(WRITTEN.format(pattern), "script % form %")
    run.expect(
        Counter(content for (content,) in rows) == dict.fromkeys(sent, 1),
        f"{len(sent)} forms were sent, {len(rows)} messages are stored",
    )
    run.expect(len(sent) >= ROUNDS, f"only {len(sent)} forms were sent")


async def post_on(run: Run, number: int, sent: set[str], enough: asyncio.Event) -> None:
    """Write one chat after the other; send each form again, as if its answer had been lost."""
    person = Person(run.site.webs, first=number)
    try:
        await person.sign_in()
        while not enough.is_set():
            content = f'script {{"tokens": 3}} form {number}.{len(sent)}'
            action, fields = await person.compose(content, "")
            sent.add(content)
            first = await person.ask_for(action, fields)
            again = await person.ask_for(action, fields)
            run.expect(
                (first.status, first.url) == (200, again.url),
                f"a form was answered {first.status} {first.url}, then {again.url}",
            )
    finally:
        await person.close()


def tabs(run: Run) -> list[Sight]:
    return [tab.sight for tab in run.tabs]


def first_after(moments: list[float], since: float) -> float:
    """The first of the moments after `since`; `since` if there is none."""
    return min((one for one in moments if one > since), default=since)


def restart(run: Run, process: Process) -> None:
    """Ask a process to end, and start it again."""
    code = process.stop()
    run.expect(code == 0, f"{process.name} ended with exit code {code}")
    process.start()


@fault("F4-workers", "five rolling restarts of the workers", setups=("postgres",))
async def restart_workers(run: Run) -> None:
    """Answers that carry on go on elsewhere within 2 s; the others end where they are."""
    began = time.monotonic()
    for _ in range(ROUNDS):
        asked = await run.ask(8)
        await run.moment(0.05, 0.3, asked)
        for worker in run.site.workers:
            await run.do(restart, run, worker)
    await run.until_over()
    for watched in run.answers:
        first_text = max(began, *(one.growth[0][0] for one in watched.sights if one.growth))
        run.steady(first_text, 2, [watched])
    calls = run.site.provider_calls()
    run.expect(len(calls) > len(run.answers), "no answer went on elsewhere")
    names = [call.name for call in calls]
    for watched in run.answers:
        count = names.count(watched.name)
        run.expect(count == 1 or carries_on(watched), f"{watched.name} was asked for {count} times")

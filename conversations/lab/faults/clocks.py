"""Machines whose clocks are wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from glob import glob
from uuid import UUID

from conversations.bench.page import composer_of

from ..process import Missing, Process
from ..run import Run
from ..watched import Watched
from . import fault
from .restarts import restart

LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
PROMPT_SECONDS = 2.0
TIMES = "SELECT start_requested_at, started_at FROM streaming_stream WHERE id = {}"


def library() -> str:
    """The path of what makes a clock wrong. Raises Missing."""
    found = glob(LIBRARY)
    if not found:
        raise Missing("libfaketime", "faketime")
    return found[0]


def faketime(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is wrong by `offset`, as "+1h". Raises Missing."""
    return {"LD_PRELOAD": library(), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1"}


@fault("F24", "one process's clock is an hour ahead, then behind", webs=2, check=library)
async def wrong_clock(run: Run) -> None:
    """Nothing expires or is taken over, pending streams start within 2 s whoever created them, and
    messages keep their order."""
    for process in dict.fromkeys((run.site.webs[0], run.site.generators[0])):
        assert process.env is not None
        right = dict(process.env)
        for offset in ("+1h", "-1h"):
            process.env = right | faketime(offset)
            await run.do(restart, run, process)
            # Else it would be a matter of luck who generates.
            generators = run.site.workers if process in run.site.workers else []
            others: list[Process] = [one for one in generators if one is not process]
            await chat(run, 5 if run.site.workers else 10, others)
        process.env = right
        await run.do(restart, run, process)


async def chat(run: Run, count: int, stopped: list[Process]) -> None:
    """Let people ask, and ask again in the same chat; `stopped` sleep until it begins."""
    for process in stopped:
        process.pause()
    asked = await run.ask(count, tokens=150)
    run.recovery.append(
        await run.until(
            lambda: all(any(sight.growth for sight in one.sights) for one in asked),
            "pending streams start",
            PROMPT_SECONDS,
        )
    )
    for process in stopped:
        process.resume()
    await run.until_over()
    for watched in asked:
        row = run.site.store.row(watched.stream)
        run.expect(row and row.epoch == 1, f"{watched.name} was taken over: {row}")
    run.expect(
        any(abs(at - datetime.now(UTC)) > timedelta(minutes=50) for at in times_of(run, asked)),
        "no clock was wrong",
    )
    await asyncio.gather(*(ask_again(run, watched) for watched in asked))


async def ask_again(run: Run, watched: Watched) -> None:
    form = composer_of((await watched.person.ask_for(watched.path)).text)
    again = 'script {"tokens": 3} once more'
    answer = await watched.person.ask_for(form.action, form.fields | {"content": again})
    run.expect(answer.status == 200, f"{watched.name}: asking again was answered {answer.status}")
    page = await watched.person.page(watched.path)
    messages = [e for e in page.elements() if "message" in e.get("class").split()]
    roles = [one.get("class").rpartition("-")[2] for one in messages]
    run.expect(
        roles == ["user", "assistant"] * 2 and "once more" in messages[2].text(),
        f"{watched.name}: the page has messages of {roles}",
    )


def times_of(run: Run, answers: list[Watched]) -> list[datetime]:
    """When the answers were asked for and began, by the clocks of the processes that noted it."""
    is_sqlite = run.site.is_sqlite
    query = TIMES.format("?" if is_sqlite else "%s")
    times = []
    for watched in answers:
        key = UUID(watched.stream).hex if is_sqlite else watched.stream
        times += run.site.store.ask(query, key)[0]
    # SQLite has UTC as text.
    return [
        datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at
        for at in times
    ]

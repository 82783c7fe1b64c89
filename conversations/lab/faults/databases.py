"""The database goes away, runs out of connections or of room, or is locked by somebody else."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..people import Answer, Person
from ..run import Run
from . import fault
from .services import expect_untouched, readiness

KEPT = "kept words"
FORMS = 4


@fault("F10", "PostgreSQL restarts at once (immediate)", setups=("postgres",))
async def restart_postgres(run: Run) -> None:
    """The generators send the same text again and go on within 5 s after it listens; until then
    every page, form and reader is answered 503, never with a trace.
    """
    postgres, pids = run.site.postgres, run.pids()
    assert postgres is not None
    async with visitors(run) as forms:
        await run.ask(tokens=1_000)
        await run.moment(0.02, 0.2)
        await run.do(postgres.stop, signal.SIGQUIT)
        probes = [one.send() for one in forms]
        for watched in run.answers[:FORMS]:
            read = f"/streams/{watched.stream}?offset=-1"
            paths = ("/", watched.path, read, f"{read}&live=long-poll", f"{read}&live=sse")
            probes += [watched.person.once(path) for path in paths]
        for answer in await asyncio.gather(*probes):
            expect_refusal(run, answer)
        for state in await readiness(run):
            found = (state["database"], state["status"])
            run.expect(found == ("down", 503), f"/readyz says {state}")
        await run.do(postgres.start)
        listening = time.monotonic()
        await run.until_over()
    expect_untouched(run, pids)
    run.recovered(listening, within=run.limit(5))


@fault("F12-3", "SQLite is locked by another process for 3 s", setups=("sqlite",))
async def lock_shortly(run: Run) -> None:
    """No error: pages and forms are answered, answers go on within 2 s after the release."""
    pids = run.pids()
    async with visitors(run) as forms:
        await run.ask(tokens=600)
        await run.moment(0.05, 0.2)
        async with locked(run):
            sent = [asyncio.create_task(one.send()) for one in forms]
            page = await run.answers[0].person.once(run.answers[0].path)
            run.expect(page.status == 200, f"a page was answered {page.status}")
            await asyncio.sleep(3)
        released = time.monotonic()
        for answer in await asyncio.gather(*sent):
            run.expect(answer.status == 200, f"a form was answered {answer.status}")
        await run.until_over()
    expect_untouched(run, pids, others=len(sent))
    run.recovered(released, within=run.limit(2))
    for process in run.site.processes:
        run.expect("ERROR" not in process.output(), "the log has an error")


@fault("F12-30", "SQLite is locked by another process for 30 s", setups=("sqlite",))
async def lock_long(run: Run) -> None:
    """Forms get 503 with their text and a time to come back; answers go on within 2 s after."""
    pids = run.pids()
    async with visitors(run) as forms:
        await run.ask(tokens=1_000)
        await run.moment(0.05, 0.2)
        async with locked(run):
            began = time.monotonic()
            # Each waits for its 5 s, also in a short run.
            for answer in await asyncio.gather(*(one.send() for one in forms)):
                expect_refusal(run, answer)
                run.expect(KEPT in answer.text, "a refused form has lost its text")
            page = await run.answers[0].person.once(run.answers[0].path)
            run.expect(page.status == 200, f"a page was answered {page.status}")
            await asyncio.sleep(run.scaled(30) - (time.monotonic() - began))
        released = time.monotonic()
        await run.until_over()
    expect_untouched(run, pids)
    run.recovered(released, within=run.limit(2))


@dataclass
class Form:
    """A filled form of somebody who is not under observation."""

    person: Person
    action: str
    fields: dict[str, str]

    async def send(self) -> Answer:
        return await self.person.once(self.action, self.fields)


@asynccontextmanager
async def visitors(run: Run) -> AsyncIterator[list[Form]]:
    """Some people with a start page, filled but not sent."""
    people = [Person(run.site.webs, first=number) for number in range(FORMS)]
    try:
        yield [Form(person, *await person.compose(KEPT, "")) for person in people]
    finally:
        for person in people:
            await person.close()


def expect_refusal(run: Run, answer: Answer) -> None:
    """A 503 that says when to come back, and shows nothing of the inside."""
    run.expect(answer.status == 503, f"{answer.url} was answered {answer.status}")
    run.expect("Retry-After" in answer.headers, f"{answer.url} does not say when to come back")
    leak = any(word in answer.text for word in ("Traceback", "psycopg", "sqlite3", "Error:"))
    run.expect(not leak, f"{answer.url} shows what failed inside")


@asynccontextmanager
async def locked(run: Run) -> AsyncIterator[None]:
    """Another process holds SQLite's write lock."""
    connection = sqlite3.connect(run.site.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()

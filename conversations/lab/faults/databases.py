"""The database goes away, runs out of connections or of room, or is locked by somebody else."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from conversations.bench.tab import Tab

from ..people import Answer, Person
from ..run import Run
from ..services import MAX_CONNECTIONS
from ..tab import SOCKET_PATH
from . import fault
from .providers import expect_end
from .services import expect_untouched, readiness

KEPT = "kept words"
FORMS = 4
# F11: connections of each process, and those that a worker holds beside (procrastinate's own).
POOL_SIZE, WORKERS_OWN = 2, 5
TABS, TABS_EACH = 1_000, 40
COUNT_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
TOO_MANY = re.compile("too many clients|remaining connection slots")
# F13: answers whose end is stored, but not yet their text in the message.
WAITING = "SELECT count(*) FROM streaming_stream WHERE hook_pending"


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


@fault(
    "F11",
    "PostgreSQL takes 20 connections, 1,000 tabs are open",
    setups=("postgres",),
    variables={"DATABASE_POOL_SIZE": str(POOL_SIZE)},
)
async def starve(run: Run) -> None:
    """No process holds more connections than its pool may, none is refused, no tab is lost."""
    pids = run.pids()
    most = POOL_SIZE * len(pids) + WORKERS_OWN * len(run.site.workers)
    async with few_connections(run), idle_tabs(run) as tabs:
        watching = run.spawn(watch_connections(run, most))
        await run.ask()
        await run.until_over()
        watching.cancel()
        left = sum(tab.socket.closed for tab in tabs)
        run.expect(len(tabs) == TABS and not left, f"{left} of {len(tabs)} tabs were closed")
        expect_untouched(run, pids)


@asynccontextmanager
async def few_connections(run: Run) -> AsyncIterator[None]:
    """Restart PostgreSQL with 20 connections at most; nobody may be refused one."""
    postgres = run.site.postgres
    assert postgres is not None
    postgres.set(max_connections=20)
    await run.do(postgres.stop)
    before = len(postgres.output())
    await run.do(postgres.start)
    try:
        yield
        logs = [postgres.output()[before:], *(one.output() for one in run.site.processes)]
        run.expect(not any(TOO_MANY.search(log) for log in logs), "a connection was refused")
    finally:
        postgres.set(max_connections=MAX_CONNECTIONS)
        await run.do(postgres.stop)
        await run.do(postgres.start)


async def watch_connections(run: Run, most: int) -> None:
    """Count the site's connections again and again."""
    while run.site.postgres:
        ((count,),) = run.site.store.ask(COUNT_CONNECTIONS)
        run.expect(0 < count <= most, f"{count} connections, {most} are allowed")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def idle_tabs(run: Run) -> AsyncIterator[list[Tab]]:
    """A thousand start pages with their sockets: they watch and acknowledge."""
    guests = [Person(run.site.webs, first=number) for number in range(TABS // TABS_EACH)]
    tabs: list[Tab] = []
    try:
        for guest in guests:
            await guest.sign_in()
            page = (await guest.ask_for("/")).text
            mine = [Tab(guest.http, guest.next_site()) for _ in range(TABS_EACH)]
            await asyncio.gather(*(tab.connect(SOCKET_PATH) for tab in mine))
            await asyncio.gather(*(tab.watch(page) for tab in mine))
            tabs += mine
        for tab in tabs:
            run.spawn(stay(tab))
        yield tabs
    finally:
        await asyncio.gather(*(tab.close() for tab in tabs))
        for guest in guests:
            await guest.close()


async def stay(tab: Tab) -> None:
    """Take what comes until the socket is closed."""
    with suppress(ConnectionError):
        while True:
            await tab.next_frame()


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


@fault("F13", "the disk is full", small_disk=True)
async def fill_disk(run: Run) -> None:
    """Within 5 s the generators stop, and within 5 s of there being room again their answers are
    `error` with the text that was shown; everything goes on without a restart.
    """
    run.complete = False
    site, pids = run.site, run.pids()
    async with visitors(run) as forms:
        asked = await run.ask(tokens=1_500)
        await run.moment(0.02, 0.1)
        fill, free = (
            (site.disk.fill, site.disk.free)
            if site.disk
            else (site.webs[0].fill_disk, site.webs[0].free_disk)
        )
        await run.do(fill)
        # Pages that are there already may have room for some more text.
        await run.until(lambda: site.is_sqlite or has_met(run, "No space left"), "it is full", 60)
        await run.until(lambda: site.provider_stats()["open"] == 0, "the generators stop", 5)
        for form in forms if site.is_sqlite else ():
            answer = await form.send()
            expect_refusal(run, answer)
            run.expect(KEPT in answer.text, "a refused form has lost its text")
        await run.do(free)
        freed = time.monotonic()
    await run.until_over()
    run.recovered(freed, within=run.limit(5))
    for watched in asked:
        expect_end(run, watched, "error", "storage")
        row = site.store.row(watched.stream)
        run.expect(row and row.length, f"{watched.name}: no text was kept")
    again = await run.ask(tokens=50)
    run.samples = len(asked)
    await run.until_over()
    for watched in again:
        row = site.store.row(watched.stream)
        found = (row.status, row.length) if row else None
        run.expect(found == ("done", len(watched.oracle)), f"{watched.name}: then {found}")
    run.expect(run.pids() == pids, "a process has ended")
    await run.until(lambda: site.store.ask(WAITING) == [(0,)], "the hand-over", 30)
    verified = await run.do(site.manage, "verifystreams")
    run.expect(": 0 problems" in verified, verified)
    if site.is_sqlite:
        whole = site.store.ask("PRAGMA integrity_check")
        run.expect(whole == [("ok",)], f"integrity_check says {whole}")


def has_met(run: Run, words: str) -> bool:
    return any(words in process.output() for process in run.site.processes)


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

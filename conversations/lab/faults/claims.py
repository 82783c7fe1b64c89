"""Who writes a stream: many that want it at once, and one that slept while another took it."""

from __future__ import annotations

import sqlite3
import time

from ..process import Process
from ..run import Run
from ..site import CARRIES_ON
from ..watched import Watched
from . import fault
from .processes import held_by

BATCH = 40


@fault(
    "F22",
    "200 pending streams for 8 workers, one stopped and woken",
    setups=("postgres",),
    workers=8,
)
async def many_workers(run: Run) -> None:
    """Each stream is generated once. Of the stopped worker's streams another takes over: what the
    woken one still has to say is refused, and its provider's connections close within 1 s."""
    for worker in run.site.workers:
        worker.pause()
    for _ in range(200 // BATCH):
        await run.ask(BATCH, tokens=20, observers=("sse",))
    run.expect(not run.site.provider_calls(), "a stopped worker called the provider")
    for worker in run.site.workers:
        worker.resume()
    await run.until_over()
    calls = len(run.site.provider_calls())
    run.expect(calls == 200, f"the provider was called {calls} times for 200 answers")
    await sleep_and_wake(run)


@fault(
    "F22-webs",
    "60 pending streams for 3 processes on one SQLite file, one stopped and woken",
    setups=("sqlite",),
    webs=3,
    # They wait for room: what one process was asked for is found by all, again and again.
    variables={"STREAMING_MAX_CONCURRENT": "8"},
)
async def many_webs(run: Run) -> None:
    """The same between processes that share a file."""
    await run.ask(60, tokens=100, observers=("sse",))
    await run.until_over()
    calls = run.site.provider_calls()
    run.expect(len(calls) == 60, f"the provider was called {len(calls)} times for 60 answers")
    callers = {call.caller for call in calls}
    run.expect(len(callers) == 3, f"only {sorted(callers)} generated")
    await sleep_and_wake(run)


async def sleep_and_wake(run: Run) -> None:
    before = len(run.site.provider_calls())
    # Long enough to be read on by the one that wakes.
    asked = await run.ask(tokens=200, rate=6)
    await run.moment(0.02, 0.1, asked)
    sleeper = max(
        run.site.generators, key=lambda one: len(held_by(run.site.provider_calls(one), asked))
    )
    await run.do(stop_between_writes, run, sleeper)
    held = held_by(run.site.provider_calls(sleeper), asked)
    run.expect(held, "the stopped process was writing nothing")
    old = {one.stream: epoch_of(run, one) for one in held}
    written = {one.stream: length_of_epoch(run, one, old[one.stream]) for one in held}
    stopped = time.monotonic()
    await run.until(
        lambda: all(epoch_of(run, one) > old[one.stream] for one in held),
        "others take over what the stopped process wrote",
        run.limit(15),
    )
    sleeper.resume()
    await run.until(
        lambda: not held_by(run.site.provider_calls(sleeper), held),
        "the woken process closes its provider's connections",
        1,
    )
    await run.until_over()
    run.complete = False
    run.steady(stopped, run.limit(15), held)
    for watched in held:
        accepted = length_of_epoch(run, watched, old[watched.stream]) - written[watched.stream]
        run.expect(not accepted, f"{watched.name}: {accepted} of the old epoch were accepted")
        epochs = epoch_of(run, watched) - old[watched.stream]
        run.expect(epochs == 1, f"{watched.name} was claimed {epochs} times more")
    expect_whole_unless_lost(run, asked, held)
    again = sum(one.model == CARRIES_ON for one in held)
    calls = len(run.site.provider_calls()) - before
    run.expect(
        calls == len(asked) + again,
        f"the provider was called {calls} times for {len(asked)} answers and {again} more",
    )


def expect_whole_unless_lost(run: Run, asked: list[Watched], held: list[Watched]) -> None:
    for watched in asked:
        row = run.site.store.row(watched.stream)
        assert row is not None
        whole = watched not in held or watched.model == CARRIES_ON
        expected = ("done", len(watched.oracle)) if whole else ("timeout", row.length)
        run.expect(
            (row.status, row.length) == expected,
            f"{watched.name}: {row.status} with {row.length} of {len(watched.oracle)}",
        )


def epoch_of(run: Run, watched: Watched) -> int:
    row = run.site.store.row(watched.stream)
    return row.epoch if row else 0


def length_of_epoch(run: Run, watched: Watched, epoch: int) -> int:
    """How much of the text was written under that epoch."""
    chunks = run.site.store.chunks(watched.stream)
    return sum(len(text) for _, text, written_by in chunks if written_by == epoch)


def stop_between_writes(run: Run, process: Process) -> None:
    """Stop the process at a moment when it holds no lock of SQLite's one file.

    Holding it, nobody could write, so nobody would prove it lost: it would wake and go on.
    """
    while True:
        process.pause()
        if not run.site.is_sqlite or is_writable(run):
            return
        process.resume()


def is_writable(run: Run) -> bool:
    connection = sqlite3.connect(run.site.database, isolation_level=None, timeout=1)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    else:
        return True
    finally:
        connection.close()

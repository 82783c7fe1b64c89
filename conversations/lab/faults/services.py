"""Redis, PostgreSQL and SQLite's lock: what the site runs on goes away and comes back."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from itertools import pairwise

from ..run import Run
from . import fault

# Long enough to go on after every outage here.
TOKENS = 1_500


@fault("F7", "kill -9 of Redis, back after 10 s", setups=("postgres",))
async def kill_redis(run: Run) -> None:
    """Not one failed answer; no reader waits for longer than 2.5 s."""
    redis = run.site.redis
    assert redis is not None
    await run.ask(tokens=TOKENS)
    await run.moment(0.02, 0.2)
    await run.do(redis.kill9)
    died = time.monotonic()
    await asyncio.sleep(run.scaled(10))
    await run.do(redis.start)
    await run.until_over()
    run.recovered(died, within=run.limit(2.5))
    expect_no_silence(run, 2.5)


@fault("F8", "FLUSHALL of Redis", setups=("postgres",))
async def flush_redis(run: Run) -> None:
    """No reader waits for longer than 2.5 s."""
    assert run.site.redis is not None
    await run.ask()
    await run.moment()
    await run.do(flush, run.site.redis.url)
    flushed = time.monotonic()
    await run.until_over()
    run.recovered(flushed, within=run.limit(2.5))
    expect_no_silence(run, 2.5)


@fault("F9", "SIGSTOP of Redis for 15 s", setups=("postgres",))
async def hang_redis(run: Run) -> None:
    """Appends go on as if nothing had happened; readers wait for 2.5 s at most."""
    redis = run.site.redis
    assert redis is not None
    await run.ask(tokens=TOKENS)
    await run.moment(0.02, 0.2)
    redis.pause()
    paused = time.monotonic()
    await asyncio.sleep(run.scaled(15))
    redis.resume()
    await run.until_over()
    run.recovered(paused, within=run.limit(2.5))
    expect_no_silence(run, 2.5)


@fault("F10", "PostgreSQL restarts at once (immediate)", setups=("postgres",))
async def restart_postgres(run: Run) -> None:
    """Answers go on within 5 s after it listens; pages are 503 and never a trace meanwhile."""
    postgres = run.site.postgres
    assert postgres is not None
    await run.ask(tokens=TOKENS)
    await run.moment(0.02, 0.2)
    await run.do(postgres.stop, signal.SIGQUIT)
    for watched in run.answers[:4]:
        page = await watched.person.once(watched.path)
        run.expect(page.status == 503, f"a page was answered {page.status}")
        run.expect("Traceback" not in page.text, "a page shows a trace")
    await run.do(postgres.start)
    listening = time.monotonic()
    await run.until_over(120)
    run.recovered(listening, within=run.limit(5))


@fault("F12-3", "SQLite is locked by another process for 3 s", setups=("sqlite",))
async def lock_shortly(run: Run) -> None:
    """No error; answers go on within 2 s after the release."""
    await lock(run, 3)


@fault("F12-30", "SQLite is locked by another process for 30 s", setups=("sqlite",))
async def lock_long(run: Run) -> None:
    """Forms get 503 with their text and a time to come back; answers go on within 2 s after."""
    await lock(run, 30)


async def lock(run: Run, seconds: float) -> None:
    await run.ask(tokens=600)
    await run.moment(0.05, 0.2)
    action, fields = await run.answers[0].person.compose("kept words", "")
    connection = sqlite3.connect(run.site.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    until = time.monotonic() + seconds
    if seconds > 10:
        refused = await run.answers[0].person.once(action, fields)
        run.expect(
            refused.status == 503
            and "kept words" in refused.text
            and "Retry-After" in refused.headers,
            f"a form was answered {refused.status}",
        )
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    connection.execute("ROLLBACK")
    connection.close()
    released = time.monotonic()
    await run.until_over()
    run.recovered(released, within=run.limit(2))


def flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as connection:
        connection.flushall()


def expect_no_silence(run: Run, seconds: float) -> None:
    """No observer saw nothing new for longer than that between its first text and the end."""
    allowed = run.limit(seconds)
    for watched in run.answers:
        for sight in watched.sights:
            times = [at for at, _ in sight.growth]
            silence = max((b - a for a, b in pairwise(times)), default=0.0)
            if silence > allowed:
                run.problems.append(
                    f"{watched.name} by {sight.observer}: silent for {silence:.1f} s"
                )

"""Redis dies, forgets and hangs: doorbells are late, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise

from ..lags import lags, pauses, percentile
from ..run import Run
from . import fault

LATE_SECONDS = 2.5
PROMPT_SECONDS = 0.3
SETTLING_SECONDS = 5.0
SLOW_RATE = 10.0
APPEND_SECONDS = 1.0
# A doorbell that is not taken is given up after 200 ms; the rest is the machine's.
GIVE_UP_SECONDS = 0.4
GIVEN_UP = "did not take a doorbell: TimeoutError"


@fault("F7", "kill -9 of Redis, back after 10 s", setups=("postgres",))
async def kill_redis(run: Run) -> None:
    """Generation goes on untouched; text is seen 2.5 s after its commit at most meanwhile, and 5 s
    after Redis is back within 0.3 s (95 of 100).
    """
    redis, pids = run.site.redis, run.pids()
    assert redis is not None
    # Long enough to go on for some seconds after the outage; slower than others, because this
    # fault judges lags, of which a busy machine has its own.
    await run.ask(tokens=250, rate=SLOW_RATE)
    await run.moment(0.02, 0.1)
    await run.do(redis.kill9)
    died = time.monotonic()
    for state in await readiness(run):
        run.expect(state["redis"] == "down" and state["status"] == 200, f"/readyz says {state}")
    await asyncio.sleep(run.scaled(10) - (time.monotonic() - died))
    await run.do(redis.start)
    back = time.monotonic()
    await run.until_over()
    expect_untouched(run, pids)
    expect_going_on(run, died, back)
    run.recovered(died, within=run.limit(LATE_SECONDS))
    expect_lags(run, died, back, LATE_SECONDS)
    settled = [
        lag.seconds
        for lag in lags(run.site.store, run.answers, back + run.scaled(SETTLING_SECONDS))
    ]
    run.expect(settled, "nothing was committed after Redis was back")
    p95 = percentile(settled, 0.95)
    run.expect(p95 <= run.limit(PROMPT_SECONDS), f"text is seen after {p95:.2f} s (p95) again")


@fault("F8", "FLUSHALL of Redis", setups=("postgres",))
async def flush_redis(run: Run) -> None:
    """No reader waits for longer than 2.5 s."""
    assert run.site.redis is not None
    pids = run.pids()
    await run.ask()
    await run.moment()
    await run.do(flush, run.site.redis.url)
    flushed = time.monotonic()
    await run.until_over()
    expect_untouched(run, pids)
    run.recovered(flushed, within=run.limit(LATE_SECONDS))
    expect_no_silence(run, LATE_SECONDS)


@fault("F9", "SIGSTOP of Redis for 15 s", setups=("postgres",))
async def hang_redis(run: Run) -> None:
    """Text is committed within 1 s (99 of 100) and seen 2.5 s later at most: a doorbell that nobody
    takes is given up after 200 ms.
    """
    redis, pids = run.site.redis, run.pids()
    assert redis is not None
    await run.ask(tokens=1_000)
    await run.moment(0.02, 0.1)
    redis.pause()
    paused = time.monotonic()
    await asyncio.sleep(run.scaled(15))
    resumed = time.monotonic()
    redis.resume()
    await run.until_over()
    expect_untouched(run, pids)
    expect_going_on(run, paused, resumed)
    run.recovered(paused, within=run.limit(LATE_SECONDS))
    expect_lags(run, paused, resumed, LATE_SECONDS)
    for worker in run.site.workers:
        tries = worker.output().count(GIVEN_UP)
        each = (resumed - paused) / tries if tries else float("inf")
        run.expect(each <= run.limit(GIVE_UP_SECONDS), f"a doorbell was held for {each:.2f} s")


def flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as connection:
        connection.flushall()


async def readiness(run: Run) -> list[dict[str, object]]:
    """What each web server says of itself, and with which status."""
    person, found = run.answers[0].person, []
    for web in run.site.webs:
        async with person.http.get(f"{web.url}/readyz") as response:
            found.append({"status": response.status, **json.loads(await response.text())})
    return found


def expect_untouched(run: Run, pids: list[int], *, others: int = 0) -> None:
    """Every answer is done by the generator that began it, in the processes of `pids`.

    `others` were asked for beside those under observation.
    """
    for watched in run.answers:
        row = run.site.store.row(watched.stream)
        found = (row.status, row.epoch) if row else None
        run.expect(found == ("done", 1), f"{watched.name}: ended as (status, epoch) {found}")
    calls = run.site.provider_stats()["requests"]
    run.expect(calls == len(run.answers) + others, f"the provider was called {calls} times")
    run.expect(run.pids() == pids, "a process has ended or was restarted")


def expect_going_on(run: Run, since: float, until: float) -> None:
    """The provider never pauses, so the commits of its answer must not either."""
    p99 = percentile(pauses(run.site.store, run.answers, since, until), 0.99)
    run.expect(0 < p99 <= run.limit(APPEND_SECONDS), f"commits came {p99:.2f} s apart (p99)")


def expect_lags(run: Run, since: float, until: float, seconds: float) -> None:
    """What was committed between the moments was seen `seconds` later at most, by everybody."""
    found = list(lags(run.site.store, run.answers, since, until))
    run.expect(found, "nothing was committed meanwhile")
    late = [lag for lag in found if lag.seconds > run.limit(seconds)]
    for worst in sorted(late, key=lambda lag: -lag.seconds)[:3]:
        run.expect(False, f"{worst.where}: seen {worst.seconds:.2f} s after its commit")


def expect_no_silence(run: Run, seconds: float) -> None:
    """No observer waited for longer than that between its first text and the end."""
    for watched in run.answers:
        for sight in watched.sights:
            times = [*(at for at, _ in sight.growth), sight.ended_at]
            silence = max((after - before for before, after in pairwise(times)), default=0.0)
            run.expect(
                silence <= run.limit(seconds),
                f"{watched.name} by {sight.observer}: silent for {silence:.1f} s",
            )

"""Providers that fall silent, refuse, break off, or report an error in mid-answer."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise
from typing import Any

from ..dom import Element
from ..run import ANSWERS, Run
from ..tab import answer_of
from ..watched import Watched
from . import fault

SAID = 100
# Seconds before an answer that ends at once: the page of its chat is there by then.
LONG_ENOUGH = 2.0
KEYS = {"OPENAI_API_KEY": "lab-key-openai", "ANTHROPIC_API_KEY": "lab-key-anthropic"}
# What the scripted provider's errors say, and the keys.
SECRETS = ("secret-body", "sk-canary", "lab-key")
TABLES = ("streaming_stream", "streaming_chunk", "conversations_message")
REPORTED = "The provider reported an error."


@fault(
    "F14",
    "provider silent in mid-answer",
    # One generator's slots, all taken by the silent answers.
    variables={"STREAMING_MAX_CONCURRENT": str(ANSWERS)},
)
async def silent(run: Run) -> None:
    """Answers end 30 ± 2 s after the last word, with their text; the slots are free again."""
    if run.site.workers:
        await run.do(run.site.workers.pop().stop)
    asked = await run.ask(stall_after=SAID)
    await run.until_over(run.scaled(30) + 30)
    for watched in asked:
        said(watched, SAID)
        (call,) = await run.calls(watched)
        silence = call.ended_at - call.wrote_at
        run.recovery += [sight.ended_at - call.wrote_at for sight in watched.sights]
        run.expect(
            call.was_left and run.scaled(28) <= silence <= run.scaled(30) + run.limit(2),
            f"{watched.name}: the provider's connection closed after {silence:.1f} s",
        )
        expect_end(run, watched, "error", "idle")
    await run.ask(tokens=20, observers=("sse",))
    await run.until_over(run.limit(15))
    run.samples = ANSWERS


@fault("F14-drip", "provider drips a byte each 10 s", times={"PROVIDER_TOTAL_SECONDS": 40})
async def drip(run: Run) -> None:
    """Answers end at the total deadline ± 5 s, with their text."""
    asked = await run.ask(stall_after=SAID, drip=run.scaled(10))
    await run.until_over(run.scaled(40) + 30)
    for watched in asked:
        said(watched, SAID)
        (call,) = await run.calls(watched)
        seconds = call.ended_at - call.began_at
        run.expect(
            call.was_left and run.scaled(35) <= seconds <= run.scaled(40) + run.limit(5),
            f"{watched.name}: the provider's connection closed after {seconds:.1f} s",
        )
        expect_end(run, watched, "error", "deadline")


@fault(
    "F14-thinking", "provider thinks for 65 s and shows it", times={"STREAMING_IDLE_SECONDS": 60}
)
async def thinking(run: Run) -> None:
    """A model that thinks, before its first word or later, is healthy: nothing is cut."""
    ways = [
        {"think_after": after, "think_by": by}
        for after in (0, SAID)
        for by in ("reasoning", "comments")
    ]
    await run.ask(each=ways, think_seconds=max(3.0, run.scaled(65)))
    await run.until_over(run.scaled(65) + 30)
    for watched in run.answers:
        expect_end(run, watched, "done", "stop")


@fault("F15", "provider refuses before the first token", variables=KEYS)
async def refuse(run: Run) -> None:
    """At most two retries, waits of at most 30 s honoured, one status for people."""
    wait = run.scaled(30)
    # Script, requests that are due, end, least wait before each retry.
    cases: list[tuple[dict[str, Any], int, str, float]] = [
        ({"status": 429, "refusals": 1, "retry_after": f"{wait:g}"}, 2, "stop", wait),
        ({"status": 429, "refusals": 2, "retry_after": "2"}, 3, "stop", 2),
        ({"status": 429, "retry_after": "1"}, 3, "rate_limit", 1),
        ({"status": 429, "retry_after": "31", "delay": LONG_ENOUGH}, 1, "rate_limit", 0),
        ({"status": 500, "refusals": 2}, 3, "stop", 0.9),
        ({"status": 500}, 3, "provider", 0.9),
        ({"status": 503, "refusals": 1}, 2, "stop", 0.9),
        ({"status": 529, "refusals": 2}, 3, "stop", 0.9),
        ({"status": 529}, 3, "provider", 0.9),
        ({"status": 401, "delay": LONG_ENOUGH}, 1, "refused", 0),
    ]
    asked = await run.ask(tokens=SAID, each=[case[0] for case in cases])
    hide_secrets(run)
    await run.until_over(wait + 30)
    for number, watched in enumerate(asked):
        _, requests, reason, least = cases[number // 2 % len(cases)]
        calls = await run.calls(watched)
        run.expect(len(calls) == requests, f"{watched.name}: {len(calls)} and not {requests} calls")
        for one, other in pairwise(calls):
            pause = other.began_at - one.ended_at
            run.expect(
                # The second wait without a Retry-After is twice the first.
                least <= pause <= max(2.0, least) + run.limit(2),
                f"{watched.name}: tried again after {pause:.1f} s and not {least} s",
            )
        said(watched, SAID if reason == "stop" else 0)
        expect_end(run, watched, "done" if reason == "stop" else "error", reason)
        await expect_one_status(run, watched, failed=reason != "stop")
    await expect_no_leak(run)


# Far enough apart that the provider may start again between two tries.
@fault("F15-refused", "provider's port refuses", variables={"PROVIDER_RETRY_SECONDS": "3"})
async def refuse_connections(run: Run) -> None:
    """A provider that is back in time is not noticed; else one error after two retries."""
    await run.do(run.site.provider.kill9)
    back = await run.ask(ANSWERS // 2, tokens=SAID)
    await run.do(run.site.provider.start)
    await run.until_over(60)
    for watched in back:
        expect_end(run, watched, "done", "stop")
    tries = retries(run)
    run.expect(tries >= len(back), f"{tries} retries for {len(back)} refused answers")
    await run.do(run.site.provider.kill9)
    away = await run.ask(ANSWERS // 2, tokens=SAID)
    await run.until_over(60)
    tries = retries(run) - tries
    run.expect(tries == 2 * len(away), f"{tries} retries for {len(away)} answers")
    for watched in away:
        said(watched, 0)
        expect_end(run, watched, "error", "provider")
        await expect_one_status(run, watched, failed=True)


def retries(run: Run) -> int:
    return sum(process.output().count(", retry ") for process in run.site.generators)


@fault("F16", "provider's connection cut without its end")
async def cut(run: Run) -> None:
    """Ends `error` with the reason `cut`, never `done`; nothing is generated again by itself."""
    asked = await run.ask(cut_after=SAID, each=[{"cut": how} for how in ("fin", "rst", "eof")])
    await run.until_over()
    # Two rounds of the sweep: whoever would generate anew does it now.
    await asyncio.sleep(run.scaled(5))
    for watched in asked:
        calls = await run.calls(watched)
        run.expect(len(calls) == 1, f"{watched.name}: {len(calls)} calls")
        run.recovery += [sight.ended_at - calls[0].wrote_at for sight in watched.sights]
        said(watched, SAID)
        if watched.script.cut == "rst":
            # What was under way at a reset may be lost before it reaches us; nothing earlier is.
            length = run.site.store.length(watched.stream) or 0
            run.expect(length >= len(watched.oracle) // 2, f"{watched.name}: only {length} stored")
            watched.oracle = watched.oracle[:length]
        expect_end(run, watched, "error", "cut")


@fault("F17", "provider reports an error in mid-answer", variables=KEYS)
async def report_error(run: Run) -> None:
    """Ends `error` within 1 s with our sentence; nothing of key, address or error is shown."""
    # One after the other, once all have asked: each is told as fast as if it were alone.
    errors = [{"error_after": 2 * SAID + 12 * number} for number in range(10)]
    asked = await run.ask(tokens=4 * SAID, each=errors)
    hide_secrets(run)
    await run.until_over()
    for watched in asked:
        (call,) = await run.calls(watched)
        for sight in watched.sights:
            seconds = sight.ended_at - call.wrote_at
            run.recovery.append(seconds)
            run.expect(seconds <= run.limit(1), f"{watched.name}: told after {seconds:.1f} s")
        said(watched, watched.script.error_after or 0)
        expect_end(run, watched, "error", "provider")
        await expect_one_status(run, watched, failed=True, sentence=REPORTED)
    await expect_no_leak(run)


# --- What they share


def said(watched: Watched, tokens: int) -> None:
    """The provider has said no more than these first tokens: all of them must be kept."""
    watched.oracle = "".join(islice(watched.script.pieces(), tokens))


def expect_end(run: Run, watched: Watched, status: str, reason: str) -> None:
    row = run.site.store.row(watched.stream)
    run.expect(
        row is not None and (row.status, row.reason) == (status, reason),
        f"{watched.name}: ended {row and (row.status, row.reason)}, not {(status, reason)}",
    )


def tells_state(element: Element) -> bool:
    """Whether it is a note of the stream, or the sentence about its end."""
    return element.get("role") == "status" or "state" in element.get("class").split()


async def expect_one_status(
    run: Run, watched: Watched, *, failed: bool, sentence: str = ""
) -> None:
    """A failed answer tells its end once, with Retry, also in tabs that saw it; others nothing."""
    fresh = await watched.person.page(watched.path)
    tabs = [tab.document for tab in run.tabs if tab.watched is watched]
    for page in [fresh, *tabs]:
        states = [one for one in answer_of(page).elements() if tells_state(one)]
        # The place of a note, without one.
        texts = [text for one in states if (text := " ".join(one.text().split()))]
        run.expect(len(texts) == failed, f"{watched.name}: the page tells {texts}")
        run.expect(not sentence or texts == [sentence], f"{watched.name}: the page tells {texts}")
        run.expect(
            not any(secret in page.html() for secret in watched.secrets),
            f"{watched.name}: the page shows what nobody may see",
        )


def hide_secrets(run: Run) -> None:
    """From now on no tab may be sent a piece of keys, addresses and errors."""
    for watched in run.answers:
        watched.secrets = secrets(run)


def secrets(run: Run) -> tuple[str, ...]:
    return (*SECRETS, f"127.0.0.1:{run.site.provider.port}")


async def expect_no_leak(run: Run) -> None:
    """Neither database nor logs hold a piece of keys, addresses and errors."""
    kept = {table: str(run.site.store.ask(f"SELECT * FROM {table}")) for table in TABLES}
    kept |= {process.log.name: process.output() for process in run.site.processes}
    for place, text in kept.items():
        for secret in secrets(run):
            run.expect(secret not in text, f"{place} holds {secret!r}")

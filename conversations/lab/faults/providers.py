"""Providers that break off, fail in the middle, or never end."""

from __future__ import annotations

import asyncio

from ..run import Run
from ..site import CARRIES_ON
from . import fault

# What the scripted provider says in an error, and nobody may ever see.
SECRET_WORDS = ("secret-body", "sk-canary")
CAP_CHARS = 6_000


@fault("F16-fin", "a provider's connection that ends without the end")
async def cut_by_fin(run: Run) -> None:
    """The answer is `error`, never `done`, and is not asked for again."""
    await cut(run, "fin")


@fault("F16-rst", "a provider's connection that is reset")
async def cut_by_reset(run: Run) -> None:
    """As F16-fin."""
    await cut(run, "rst")


async def cut(run: Run, how: str) -> None:
    run.complete = False
    await run.ask(models=(CARRIES_ON,), cut_after=150, cut=how)
    await run.until_over()
    await expect_all(run, ("error", "cut"))
    stats = run.site.provider_stats()
    run.expect(stats["requests"] == len(run.answers), f"{stats['requests']} requests were made")


@fault("F17", "an error event inside a stream of events")
async def error_event(run: Run) -> None:
    """The answer is `error` with a clean sentence: no byte of the raw error is shown or logged."""
    run.complete = False
    await run.ask(models=(CARRIES_ON,), error_after=150)
    await run.until_over()
    await expect_all(run, ("error", "provider"))
    for watched in run.answers:
        page = await watched.person.ask_for(watched.path)
        run.expect(not leaks(page.text), f"{watched.name}: the page shows the raw error")
    for process in run.site.processes:
        run.expect(not leaks(process.output()), "the log holds the raw error")


@fault("F20", "a provider that never ends", variables={"STREAMING_MAX_CHARS": str(CAP_CHARS)})
async def endless(run: Run) -> None:
    """The answer is `done` by the cap, and the provider sees our close within 1 s."""
    run.complete = False
    # More than the cap; the provider itself would go on for a minute.
    await run.ask(models=(CARRIES_ON,), tokens=6_000, rate=100)
    await run.until_over()
    await run.until(lambda: run.site.provider_stats()["open"] == 0, "the provider's close", 1)
    await expect_all(run, ("done", "cap"))
    for watched in run.answers:
        length = run.site.store.length(watched.stream) or 0
        run.expect(CAP_CHARS <= length <= CAP_CHARS + 2_000, f"{watched.name}: capped at {length}")


async def expect_all(run: Run, end: tuple[str, str]) -> None:
    for watched in run.answers:
        row = run.site.store.row(watched.stream)
        found = (row.status, row.reason) if row else None
        run.expect(found == end, f"{watched.name}: ended {found}, {end} was expected")
        run.expect(row and row.length > 0, f"{watched.name}: no text was kept")
    await asyncio.sleep(0)


def leaks(text: str) -> bool:
    return any(word in text for word in SECRET_WORDS)

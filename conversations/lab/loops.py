"""The loops that observers live on: what they take of the machine, the site lacks."""

from __future__ import annotations

import asyncio
import gc

# Rare enough that the collector does not hold all observers up for a large document's elements. All
# objects are never looked through while observers live: with what a thousand tabs left behind that
# took a second and more, which looked like the site's own delay.
GC_THRESHOLDS = (100_000, 20, 1_000_000_000)


def observers_runner() -> asyncio.Runner:
    """A runner on a fast loop, where there is one. What earlier runs left behind is collected."""
    gc.set_threshold(*GC_THRESHOLDS)
    gc.collect()
    return asyncio.Runner(loop_factory=_new_loop)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()

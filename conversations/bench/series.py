"""Several runs of one load on one set-up, and the medians of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .measure import Load, measure
from .site import Setup, Site, provider


class NotPossible(Exception):
    """No such run can be; the message says why."""


def series(
    setup: Setup, load: Load, runs: int, *, say: Callable[[str], None], again: bool = True
) -> dict[str, Any]:
    """The medians of `runs` runs, each on a fresh site. Raises NotPossible, and what runs raise.

    `again` asks for a second round of the first run; see `measure`.
    """
    refuse_nonsense(setup, load, runs)
    with (
        tempfile.TemporaryDirectory(prefix="benchstreams-") as folder,
        provider(shape=load.shape, tokens=load.tokens, rate=load.rate) as port,
    ):
        say("preparing a site in a temporary folder")
        with Site(setup, Path(folder), port, load.settings).prepared() as site:
            results = []
            for number in range(1, runs + 1):
                say(f"run {number} of {runs}")
                # Memory that is kept shows in any run; one second round is enough.
                result = measure(site, load, again=again and number == 1, say=say)
                say(json.dumps(result, separators=(",", ":")))
                results.append(result)
    return medians(results) | {"load_avg": round(os.getloadavg()[0], 2)}


def refuse_nonsense(setup: Setup, load: Load, runs: int) -> None:
    """Raises NotPossible."""
    if min(load.streams, load.tokens, load.tabs, setup.webs, runs) < 1 or load.rate <= 0:
        raise NotPossible("Streams, tokens, rate, tabs, webs and runs must be positive.")
    if min(load.followers, setup.workers, load.idle) < 0:
        raise NotPossible("Followers, workers and idle seconds cannot be fewer than none.")
    if setup.database == "sqlite" and (setup.is_shared or setup.redis):
        raise NotPossible("Several processes, and Redis, are measured with --database postgres.")


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the runs that have it; errors of all runs together."""
    result: dict[str, Any] = {}
    for name in runs[0]:
        found = [run[name] for run in runs if run.get(name) is not None]
        if name in ("lost", "doubled", "reordered", "errors"):
            result[name] = sum(found[1:], found[0])
        elif not found:
            result[name] = None
        elif isinstance(found[0], dict):
            result[name] = medians(found)
        else:
            result[name] = round(median(found), 2)
    return result

"""How long committed text takes to be seen: the database's times against the observers'."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .store import Store
from .watched import Watched

# The end of an outage, where none is given.
FOREVER = math.inf


class Lag(NamedTuple):
    """One chunk, for one observer."""

    # By the monotonic clock, just before the commit.
    committed: float
    seconds: float
    where: str


def commits(store: Store, watched: Watched) -> list[tuple[float, int]]:
    """(time of the monotonic clock, code points stored then) of each chunk of an answer."""
    # Both clocks are this machine's; the site's processes run on it, too.
    offset = time.time() - time.monotonic()
    return [(at - offset, end) for at, end in store.commits(watched.stream)]


def lags(
    store: Store, answers: Iterable[Watched], since: float, until: float = FOREVER
) -> Iterator[Lag]:
    """Of every chunk that was committed between the two moments, for every observer that saw it."""
    for watched in answers:
        chunks = [one for one in commits(store, watched) if since <= one[0] <= until]
        for sight in watched.sights:
            if sight.observer == "long-poll":
                # It pauses between its questions; what it waits for by itself is no lag.
                continue
            growth = iter(sight.growth)
            at, length = next(growth, (FOREVER, 0))
            for committed, end in chunks:
                while length < end and at < FOREVER:
                    at, length = next(growth, (FOREVER, 0))
                if at < FOREVER:
                    yield Lag(committed, at - committed, f"{watched.name} by {sight.observer}")


def pauses(
    store: Store, answers: Iterable[Watched], since: float, until: float = FOREVER
) -> list[float]:
    """Seconds between an answer's commits, of those that touch the time between the moments."""
    return [
        after - before
        for watched in answers
        for (before, _), (after, _) in pairwise(commits(store, watched))
        if after >= since and before <= until
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not pass; 0 of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0

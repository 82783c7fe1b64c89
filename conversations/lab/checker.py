"""What the observers saw, held against the oracle and the database after a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .store import Store
from .tab import answer_of, body_html
from .texts import MARK
from .watched import Sight, Watched

FINAL = ("done", "error", "timeout", "stopped")


@dataclass
class Tally:
    """Characters that were lost, doubled and out of order, and everything else that is wrong."""

    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.problems)

    def compare(self, seen: str, expected: str, where: str) -> None:
        """Count what makes `seen` differ from `expected`, by marks; a rest is a problem."""
        if seen == expected:
            return
        wanted, found = _marks(expected), _marks(seen)
        counts = Counter(found)
        lost = [one for one in wanted if one not in counts]
        doubled = sum((count - 1) * len(one) for one, count in counts.items())
        first = list(dict.fromkeys(found))
        order = {one: at for at, one in enumerate(wanted)}
        reordered = sum(
            len(later)
            for one, later in pairwise(first)
            if order.get(later, -1) < order.get(one, -1)
        )
        self.lost += sum(map(len, lost))
        self.doubled += doubled
        self.reordered += reordered
        self.problems.append(
            f"{where}: {len(seen)} characters differ from the {len(expected)} expected "
            f"(from {_first_difference(seen, expected)} on)"
        )


async def check(answers: Sequence[Watched], store: Store, *, complete: bool) -> Tally:
    """Hold everything against each other; with `complete` each answer must be its whole oracle."""
    tally = Tally()
    for watched in answers:
        text = store.text(watched.stream)
        row = store.row(watched.stream)
        if row is None:
            tally.problems.append(f"{watched.name}: the stream is not in the database")
            continue
        if row.status not in FINAL:
            tally.problems.append(f"{watched.name}: not ended but {row.status}")
        expected = watched.oracle if complete else watched.oracle[: len(text)]
        tally.compare(text, expected, f"{watched.name}: the stored text")
        if row.status in FINAL and store.content(watched.stream) not in (text, None):
            tally.problems.append(f"{watched.name}: the message's content is not its chunks")
        tally.problems += [f"{watched.name}: {one}" for one in log_problems(store, watched)]
        for sight in watched.sights:
            _check_sight(tally, watched, sight, text, row.status)
        await _check_page(tally, watched)
    return tally


def log_problems(store: Store, watched: Watched) -> Iterable[str]:
    """What is wrong in the stored log: gaps, epochs that go back, a length that is not the sum."""
    row = store.row(watched.stream)
    end = epoch = 0
    for start, text, chunk_epoch in store.chunks(watched.stream):
        if start != end:
            yield f"a chunk starts at {start} and not at {end}"
        if chunk_epoch < epoch:
            yield f"the chunk at {start} is of epoch {chunk_epoch}, after {epoch}"
        end, epoch = start + len(text), chunk_epoch
    if row and (row.length != end or row.epoch < epoch):
        yield f"the row says length {row.length}, epoch {row.epoch}; the chunks {end}, {epoch}"


def _check_sight(tally: Tally, watched: Watched, sight: Sight, text: str, status: str) -> None:
    where = f"{watched.name} by {sight.observer}"
    tally.problems += [f"{where}: {one}" for one in sight.problems]
    if sight.status != status:
        tally.problems.append(f"{where}: ended {sight.status or 'never'}, the row says {status}")
    # A tab that was drawn after the end names no position; its HTML is compared.
    drawn_at_once = sight.final_html is not None and not sight.growth
    if sight.length != len(text) and not drawn_at_once:
        tally.problems.append(f"{where}: saw {sight.length} of {len(text)} code points")
    if sight.observer != "tab":
        tally.compare(sight.text, text, where)


async def _check_page(tally: Tally, watched: Watched) -> None:
    """Each tab ends with the HTML of a fresh page."""
    tabs = [one for one in watched.sights if one.final_html is not None]
    if not tabs:
        return
    page = await watched.person.page(watched.path)
    # The chat may have gone on meanwhile.
    fresh = body_html(page.find(f"message-{watched.message}") or answer_of(page))
    for sight in tabs:
        if sight.final_html != fresh:
            tally.problems.append(f"{watched.name}: the tab's HTML is not that of a fresh page")


def _marks(text: str) -> list[str]:
    return [found[0] for found in MARK.finditer(text)]


def _first_difference(one: str, other: str) -> int:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))

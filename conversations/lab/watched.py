"""One answer under observation: what its provider says, and everything that anybody saw of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from .dom import Element
from .expected import Expected
from .people import Person
from .script import Script

# Whether what is seen is stored is asked so often for each answer.
ASK_SECONDS = 0.2


@dataclass
class Sight:
    """What one observer sees of an answer, in order of time."""

    observer: str
    # (seconds of the monotonic clock, code points seen), each time that it grew.
    growth: list[tuple[float, int]] = field(default_factory=list)
    # Seen so far, for observers of raw text.
    text: str = ""
    # The final state, once the observer was told.
    status: str = ""
    ended_at: float = 0.0
    # When a connection was lost and found.
    lost_at: list[float] = field(default_factory=list)
    back_at: list[float] = field(default_factory=list)
    # What was not as it must be.
    problems: list[str] = field(default_factory=list)
    # HTML of the body in canonical form at the end, for tabs.
    final_html: str | None = None
    # Bytes of the largest frame, for tabs.
    largest: int = 0

    @property
    def length(self) -> int:
        return self.growth[-1][1] if self.growth else 0

    def grow(self, length: int) -> None:
        """The observer sees the first `length` code points now."""
        if length < self.length:
            self.problem(f"the position went back from {self.length} to {length}")
        if self.status and length > self.length:
            self.problem(f"text came after the end ({self.status})")
        if length > self.length:
            self.growth.append((time.monotonic(), length))

    def end(self, status: str) -> None:
        if self.status and self.status != status:
            self.problem(f"two ends: {self.status}, then {status}")
        self.status = status
        self.ended_at = self.ended_at or time.monotonic()

    def problem(self, sentence: str) -> None:
        if sentence not in self.problems and len(self.problems) < 20:
            self.problems.append(sentence)

    def grew_after(self, moment: float) -> float | None:
        """When it first saw more, or the end, after `moment`; None if never."""
        times = [at for at, _ in self.growth if at > moment]
        if self.ended_at > moment:
            times.append(self.ended_at)
        return min(times, default=None)

    def longest_silence(self, since: float) -> float:
        """The longest time after `since` in which it saw nothing new, up to the end."""
        times = [since, *(at for at, _ in self.growth if at > since)]
        if self.ended_at > since:
            times.append(self.ended_at)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


@dataclass
class Watched:
    """An answer, its person and its observers."""

    name: str
    person: Person
    path: str
    stream: str
    # The whole text that its provider would say.
    oracle: str
    asked_at: float
    script: Script = field(default_factory=Script)
    model: str = ""
    # The answer's number among all messages.
    message: int = 0
    # The chat as the answer to its first form drew it.
    first_page: Element | None = None
    # What nobody may be shown: pieces of keys, addresses and errors.
    secrets: tuple[str, ...] = ()
    sights: list[Sight] = field(default_factory=list)
    # How much the database holds; asked by observers at the moment they see something.
    ask_again_at: float = 0.0
    stored_length: Callable[[str], int | None] = lambda stream: None

    @cached_property
    def expected(self) -> Expected:
        """What pages must show of it."""
        return Expected(self.oracle)

    def sight(self, observer: str) -> Sight:
        sight = Sight(observer)
        self.sights.append(sight)
        return sight

    def saw(self, sight: Sight, length: int) -> None:
        """An observer sees the first `length` code points: they must be stored by now.

        Asked at that very moment, of some: each question holds up all observers.
        """
        now = time.monotonic()
        if length > sight.length and now >= self.ask_again_at:
            self.ask_again_at = now + ASK_SECONDS
            stored = self.stored_length(self.stream)
            if stored is not None and stored < length:
                sight.problem(f"{length} code points were seen when {stored} were stored")
        sight.grow(length)

    @property
    def is_over(self) -> bool:
        """Every observer knows the end."""
        return all(sight.status for sight in self.sights)

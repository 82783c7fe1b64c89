"""One run of one fault: answers under observation, the injection, and the check at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

from streaming.normalise import normalise

from .checker import check
from .people import HasUrl, Person
from .provider import Call
from .readers import poll, read_events
from .script import Script
from .site import CARRIES_ON, SHORTER, STARTS_ANEW, Site
from .tab import Tab, answer_of
from .watched import Watched

T = TypeVar("T")

# Between two looks at a condition; each holds up the observers for a moment.
ASK_SECONDS = 0.05

ANSWERS = 20
# Each answer has the first two, each third answer the last, too: its requests, each with a session
# and all that belongs to one, would be most of the site's work, and times measured of that.
OBSERVERS = ("tab", "sse", "long-poll")
POLLED = 3
# An answer of 300 tokens at 50 a second takes six seconds.
TOKENS, RATE = 300, 50.0
# A short run is for machines that are busy with other tests: it holds every character against the
# oracle, but leaves times, except such as show that nothing goes on at all, to the real run.
SHORT_LIMIT_SECONDS = 30.0


@dataclass
class Run:
    """What a fault works with; see `faults`."""

    site: Site
    chance: random.Random
    short: bool
    answers: list[Watched] = field(default_factory=list)
    tabs: list[Tab] = field(default_factory=list)
    # Seconds from the moment that counts until each observer went on.
    recovery: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    samples: int = 0
    # Whether each answer must be its provider's whole text at the end.
    complete: bool = True
    # Names of the answers that the fault has deleted.
    gone: set[str] = field(default_factory=set)
    # What people connect to; the web processes unless a fault puts something before them.
    fronts: Sequence[HasUrl] = ()
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fronts = self.fronts or self.site.webs

    # --- Times

    def scaled(self, seconds: float) -> float:
        """A time that settings decide: a tenth of it in a short run."""
        return seconds / SHORTER if self.short else seconds

    def limit(self, seconds: float) -> float:
        """The longest that something may take."""
        return SHORT_LIMIT_SECONDS if self.short else seconds

    # --- Answers

    async def ask(
        self,
        count: int = ANSWERS,
        *,
        tokens: int = TOKENS,
        rate: float = RATE,
        models: Sequence[str] = (CARRIES_ON, STARTS_ANEW),
        observers: Sequence[str] | None = None,
        each: Sequence[Mapping[str, Any]] = ({},),
        then: Callable[[Watched], Awaitable[None]] | None = None,
        **script: Any,
    ) -> list[Watched]:
        """Let `count` people ask, each under observation; their models take turns.

        `script` holds for all answers, a member of `each` for every model's next one. `then` is
        called for each as soon as it was asked for.
        """
        first = len(self.answers)
        general = {"tokens": tokens, "rate": rate, **script}
        asking = [
            self._ask(
                number,
                Script(
                    name=f"s{number:02d}",
                    **{**general, **each[number // len(models) % len(each)]},
                ),
                models[number % len(models)],
                observers or OBSERVERS[: None if number % POLLED == 0 else -1],
                then,
            )
            for number in range(first, first + count)
        ]
        asked = await asyncio.gather(*asking)
        self.answers += asked
        self.samples += count
        return list(asked)

    async def _ask(
        self,
        number: int,
        script: Script,
        model: str,
        observers: Sequence[str],
        then: Callable[[Watched], Awaitable[None]] | None,
    ) -> Watched:
        person = Person(self.fronts, first=number)
        asked_at = time.monotonic()
        path, page = await person.start_chat(script.changed(), model)
        # A page does not name the stream of an answer that has ended by then.
        message = int(answer_of(page).get("id").removeprefix("message-"))
        stream = self.site.store.stream_of(message)
        watched = Watched(
            script.name,
            person,
            path,
            stream,
            await self.do(lambda: normalise(script.stored)),
            asked_at,
            script,
            model,
            message=message,
            first_page=page,
        )
        watched.stored_length = self.site.store.length
        for observer in observers:
            self.observe(watched, observer)
        if then is not None:
            await then(watched)
        return watched

    def observe(self, watched: Watched, observer: str) -> Tab | None:
        """Set another observer on an answer: "tab", "sse" or "long-poll".

        A "late-tab" is held against the oracle at its end only: for very large texts.
        """
        if observer.endswith("tab"):
            tab = Tab(watched, chance=random.Random(self.chance.random()))
            tab.checks_frames = observer == "tab"
            self.tabs.append(tab)
            self.spawn(tab.run())
            return tab
        self.spawn(read_events(watched) if observer == "sse" else poll(watched))
        return None

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.append(task)
        return task

    # --- Moments and conditions

    async def moment(
        self, low: float = 0.15, high: float = 0.6, answers: Sequence[Watched] | None = None
    ) -> None:
        """Wait for a seeded moment in mid-answer: a share of the text that half have seen."""
        share = self.chance.uniform(low, high)
        among = self.answers if answers is None else answers

        def reached() -> bool:
            return (
                median(
                    max((sight.length for sight in one.sights), default=0) / len(one.oracle)
                    for one in among
                )
                >= share
            )

        await self.until(reached, "the answers get going", 60)

    async def until(
        self,
        happened: Callable[[], object],
        what: str,
        seconds: float,
        every: float = ASK_SECONDS,
    ) -> float:
        """Wait until it is so; the seconds it took. After `seconds` it is a problem.

        What takes long to ask is asked less often: it holds up all observers.
        """
        began = time.monotonic()
        while not happened():
            self._raise_failures()
            if time.monotonic() - began > seconds:
                self.problems.append(f"{what}: not within {seconds:g} s")
                break
            await asyncio.sleep(every)
        return time.monotonic() - began

    async def until_over(self, seconds: float = 60) -> None:
        """Wait until every observer knows the end of its answer."""
        await self.until(lambda: all(one.is_over for one in self.answers), "the ends", seconds)

    def expect(self, condition: object, sentence: str) -> None:
        if not condition:
            self.problems.append(sentence)

    async def calls(self, watched: Watched) -> list[Call]:
        """The requests for this answer that the provider has seen, oldest first."""
        every = await self.do(self.site.provider_calls)
        return [call for call in every if call.name == watched.name]

    def recovered(
        self, since: float, within: float, answers: Sequence[Watched] | None = None
    ) -> None:
        """Take the time from `since` until each observer saw more; call it after the end.

        An observer that had seen everything before does not count; one at least must have waited.
        """
        counted = len(self.recovery)
        for watched in self.answers if answers is None else answers:
            for sight in watched.sights:
                if sight.status and sight.ended_at <= since:
                    continue
                grew = sight.grew_after(since)
                if grew is None:
                    self.problems.append(f"{watched.name} by {sight.observer} never went on")
                    continue
                self.recovery.append(grew - since)
                if grew - since > within:
                    self.problems.append(
                        f"{watched.name} by {sight.observer} went on after "
                        f"{grew - since:.1f} s; {within:g} s are allowed"
                    )
        self.expect(len(self.recovery) > counted, "every answer was over before that moment")

    def steady(self, since: float, within: float, answers: Sequence[Watched] | None = None) -> None:
        """Take the longest wait of each observer for more after `since`; call it after the end."""
        for watched in self.answers if answers is None else answers:
            for sight in watched.sights:
                silence = sight.longest_silence(since)
                self.recovery.append(silence)
                if silence > within:
                    self.problems.append(
                        f"{watched.name} by {sight.observer} saw nothing for {silence:.1f} s; "
                        f"{within:g} s are allowed"
                    )

    async def do(self, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks (processes, commands) while the observers go on."""
        return await asyncio.to_thread(function, *args)

    def pids(self) -> list[int]:
        """Of the site's processes that run."""
        return [process.pid for process in self.site.processes if process.is_running]

    # --- The end

    async def finish(self) -> dict[str, Any]:
        """Check everything that was observed; a row of the table without its names."""
        self._raise_failures()
        left = [watched for watched in self.answers if watched.name not in self.gone]
        tally = await check(left, self.site.store, complete=self.complete)
        problems = [*self.problems, *tally.problems]
        return {
            "runs": self.samples,
            "lost": tally.lost,
            "doubled": tally.doubled,
            "reordered": tally.reordered,
            "recovery_s": {
                "median": round(median(self.recovery), 2) if self.recovery else None,
                "worst": round(max(self.recovery), 2) if self.recovery else None,
            },
            "passed": tally.is_clean and not self.problems and self.samples > 0,
            "problems": problems,
        }

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tab in self.tabs:
            await tab.close()
        for watched in self.answers:
            await watched.person.close()

    def _raise_failures(self) -> None:
        """An observer that failed by an error of its own would see nothing, and prove nothing."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

"""Tabs in a process of their own, which can be stopped as a browser is that the system froze."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from yarl import URL

from .loops import observers_runner
from .people import Person
from .script import Script
from .watched import Sight, Watched

FLOWING = "flowing"


@dataclass(frozen=True)
class Front:
    """Where a server listens."""

    url: str


@dataclass(frozen=True)
class Seat:
    """What a tab in another process needs to know of an answer."""

    name: str
    fronts: tuple[Front, ...]
    cookies: dict[str, str]
    path: str
    stream: str
    oracle: str
    script: Script
    checks_frames: bool

    def watched(self, store: Any) -> Watched:
        person = Person(self.fronts)
        person.http.cookie_jar.update_cookies(self.cookies, URL(self.fronts[0].url))
        found = Watched(self.name, person, self.path, self.stream, self.oracle, 0.0, self.script)
        found.stored_length = store.length
        return found


class Apart:
    """The process; one tab for each answer."""

    def __init__(
        self,
        answers: Sequence[Watched],
        fronts: Sequence[Any],
        database: str,
        checks_frames: bool = True,
    ) -> None:
        self.answers = answers
        seats = [
            Seat(
                one.name,
                tuple(Front(front.url) for front in fronts),
                {cookie.key: cookie.value for cookie in one.person.http.cookie_jar},
                one.path,
                one.stream,
                one.oracle,
                one.script,
                checks_frames,
            )
            for one in answers
        ]
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, seats, database), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_flowing(self) -> None:
        """Wait until every tab has shown some text, or the end.

        Raises EOFError when the process has died.
        """
        assert self._pipe.recv() == FLOWING

    def stop(self) -> None:
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGCONT)

    def take_sights(self) -> list[Sight]:
        """Wait for the ends, and put what was seen to the other observers' sights.

        Raises EOFError when the process has died.
        """
        sights: list[Sight] = self._pipe.recv()
        for watched, sight in zip(self.answers, sights, strict=True):
            watched.sights.append(sight)
        return sights

    def destroy(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


@contextmanager
def apart(
    answers: Sequence[Watched], fronts: Sequence[Any], database: str, *, checks_frames: bool = True
) -> Iterator[Apart]:
    process = Apart(answers, fronts, database, checks_frames)
    try:
        yield process
    finally:
        process.destroy()


def _main(pipe: Connection, seats: Sequence[Seat], database: str) -> None:
    import django

    django.setup()
    with observers_runner() as runner:
        runner.run(_watch(pipe, seats, database))


async def _watch(pipe: Connection, seats: Sequence[Seat], database: str) -> None:
    from .store import Store
    from .tab import Tab

    store = Store(database)
    tabs = [Tab(seat.watched(store), checks_frames=seat.checks_frames) for seat in seats]
    running = [asyncio.create_task(tab.run()) for tab in tabs]
    while not all(tab.sight.growth or tab.sight.status for tab in tabs):
        for task in running:
            if task.done() and (error := task.exception()):
                raise error
        await asyncio.sleep(0.05)
    pipe.send(FLOWING)
    await asyncio.gather(*running)
    pipe.send([tab.sight for tab in tabs])
    for tab in tabs:
        await tab.person.close()
    store.close()

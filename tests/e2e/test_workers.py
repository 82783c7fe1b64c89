"""The distributed mode: a web process that generates nothing, and workers that die in all ways."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from conversations.lab import services
from conversations.lab.services import Postgres, Worker, destroying
from conversations.markdown import renderer
from tests.services import Server, manage, running_server, wait_until

from .people import Person
from .test_processes import row

pytestmark = pytest.mark.services

WORDS = "no word of this is generated where it is served"
ANSWER = f'I received your message: "{WORDS}". How can I help you further?'


@dataclass
class Site:
    """A web process and its workers on one database."""

    web: Server
    workers: list[Worker]
    database: str

    def writer(self, stream: str) -> Worker:
        """The worker that runs the stream: it alone has logged the start of its job."""
        wait_until(lambda: any(stream in worker.output() for worker in self.workers), "A job")
        (found,) = [worker for worker in self.workers if stream in worker.output()]
        return found

    def row(self, stream: str) -> tuple[str, int, int, str]:
        return row(self.database, stream)

    def jobs(self) -> int:
        with psycopg.connect(self.database) as connection:
            found = connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()
        assert found
        return found[0]


@contextmanager
def site(database: str, redis_url: str, folder: Path, workers: int = 2) -> Iterator[Site]:
    env = {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": folder.name,
        "STREAMING_RUNNER": "procrastinate",
        "STREAMING_DRAIN_SECONDS": "5",
        "ECHO_DELAY_MILLISECONDS": "60",
    }
    with ExitStack() as stack:
        web = stack.enter_context(running_server(folder, env))
        started = [Worker(folder, web.env, name=f"worker{index}") for index in range(workers)]
        for worker in started:
            stack.enter_context(destroying(worker))
            worker.launch()
        for worker in started:
            worker.wait_ready()
        yield Site(web, started, database)


async def test_answers_are_live_and_a_worker_may_be_killed_or_stopped(
    postgres_database: str, redis_url: str, tmp_path: Path
) -> None:
    with site(postgres_database, redis_url, tmp_path) as both:
        async with Person() as person:
            # Killed: the other carries on, although the dead one's job still says `doing`.
            stream = await person.ask(both.web.url, WORDS)
            reader = await person.follow(both.web.url, stream)
            await reader.until(20)
            killed = both.writer(stream)
            killed.kill9()
            began = time.monotonic()
            seen = reader.end
            await reader.until(seen + 1)
            print("KILL", time.monotonic() - began)
            await reader.until_end()
            assert reader.html == renderer.render(ANSWER)
            assert both.row(stream) == ("done", 2, len(ANSWER), ANSWER)
            killed.start()

            # Asked to stop: handed over at once, with the same epoch.
            stream = await person.ask(both.web.url, WORDS)
            reader = await person.follow(both.web.url, stream)
            await reader.until(20)
            stopped = both.writer(stream)
            began = time.monotonic()
            assert stopped.stop() == 0
            print("TERM exit", time.monotonic() - began)
            seen = reader.end
            await reader.until(seen + 1)
            print("TERM text", time.monotonic() - began)
            await reader.until_end()
            print(len(reader.ends), len(ANSWER))
            assert both.row(stream) == ("done", 1, len(ANSWER), ANSWER)
            print("JOBS", both.jobs())
            print(killed.output())

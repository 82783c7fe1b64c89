"""The distributed mode: a web process that generates nothing, and workers that die in all ways."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from conversations.lab import provider, services
from conversations.lab.commands import Worker
from conversations.lab.process import destroying
from conversations.markdown import renderer
from tests.services import Server, running_server, wait_until

from .people import Person
from .test_processes import row

pytestmark = pytest.mark.services

WORDS = "no word of this is generated where it is served"
SCRIPTS = {
    "quick": provider.Script(text="quick as can be " * 10, size=4, rate=40),
    "slow": provider.Script(text="slower than any drain " * 40, size=4, rate=20),
}
# Fault F22 has 8 and 200.
WORKERS, STREAMS = 3, 60
PENDING = f"""
from uuid import uuid4
from chatsite.accounts.models import User
from conversations.actions import start_conversation
user = User()
user.set_unusable_password()
user.save()
for number in range({STREAMS}):
    start_conversation(user, f"race {{number}}", key=uuid4(), model="openai:quick")
"""
ANSWER = f'I received your message: "{WORDS}". How can I help you further?'


@dataclass
class Site:
    """A web process and its workers on one database."""

    web: Server
    database: str
    stack: ExitStack
    workers: list[Worker] = field(default_factory=list)

    def writer(self, stream: str) -> Worker:
        """The worker that runs the stream: it alone has logged the start of its job."""
        wait_until(lambda: any(stream in worker.output() for worker in self.workers), "A job")
        (found,) = [worker for worker in self.workers if stream in worker.output()]
        return found

    def row(self, stream: str) -> tuple[str, int, int, str]:
        return row(self.database, stream)

    def add_worker(self) -> Worker:
        worker = Worker(self.web.folder, self.web.env, name=f"worker{len(self.workers)}")
        self.stack.enter_context(destroying(worker))
        worker.start()
        self.workers.append(worker)
        return worker

    def leave_stalled_job(self) -> None:
        """A job as a worker leaves it that was killed long ago."""
        with psycopg.connect(self.database) as connection:
            connection.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, status) "
                "VALUES ('streaming', 'streaming.run_stream', 'doing')"
            )

    def jobs(self) -> int:
        with psycopg.connect(self.database) as connection:
            found = connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()
        assert found
        return found[0]


@contextmanager
def site(
    database: str, redis_url: str, folder: Path, env: dict[str, str] | None = None, workers: int = 2
) -> Iterator[Site]:
    settings = {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": folder.name,
        "STREAMING_RUNNER": "procrastinate",
        "ECHO_DELAY_MILLISECONDS": "30",
    }
    with ExitStack() as stack:
        web = stack.enter_context(running_server(folder, settings | (env or {})))
        made = Site(web, database, stack)
        for _ in range(workers):
            made.add_worker()
        yield made


@pytest.fixture(scope="module")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with provider.process(SCRIPTS, tmp_path_factory.mktemp("provider")) as port:
        yield port


async def test_a_killed_workers_answer_is_carried_on(
    postgres_database: str, redis_url: str, tmp_path: Path
) -> None:
    """The other worker goes on, although the dead one's job still says `doing`."""
    with site(postgres_database, redis_url, tmp_path) as two:
        async with Person() as person:
            stream = await person.ask(two.web.url, WORDS)
            reader = await person.follow(two.web.url, stream)
            await reader.until(70)
            two.writer(stream).kill9()
            killed = time.monotonic()
            await reader.until(reader.end + 1)
            assert time.monotonic() - killed < 15
            await reader.until_end()
        assert reader.html == renderer.render(ANSWER)
        assert two.row(stream) == ("done", 2, len(ANSWER), ANSWER)
        # Doorbells, not polls: a frame for each tick, not one every two seconds.
        assert len(reader.ends) > len(ANSWER) / 4
        assert reader.ends == sorted(reader.ends)


async def test_a_worker_that_is_asked_to_stop_hands_over_or_drains(
    postgres_database: str, redis_url: str, provider_port: int, tmp_path: Path
) -> None:
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "OPENAI_MODELS": ",".join(SCRIPTS),
        "STREAMING_DRAIN_SECONDS": "2",
    }
    # Echo still speaks when the second worker stands, which takes a slow machine seconds.
    words = " ".join([WORDS] * 5)
    answer = ANSWER.replace(WORDS, words)
    with site(postgres_database, redis_url, tmp_path, env, workers=1) as one:
        async with Person() as person:
            carried, quick, slow = [
                await person.ask(one.web.url, words, model)
                for model in ("echo:echo", "openai:quick", "openai:slow")
            ]
            readers = [await person.follow(one.web.url, key) for key in (carried, quick, slow)]
            for reader in readers:
                await reader.until(20)
            (first,) = one.workers
            one.leave_stalled_job()
            second = one.add_worker()
            stopped = time.monotonic()
            first.send(signal.SIGTERM)
            await readers[0].until(readers[0].end + 1)
            assert time.monotonic() - stopped < 2
            for reader in readers[1:]:
                await reader.until_end()
            assert first.process.wait(5) == 0
            assert time.monotonic() - stopped < 2 + 5
            await readers[0].until_end()
        # Handed over with its epoch; finished in time; interrupted, with what was seen.
        assert one.row(carried) == ("done", 1, len(answer), answer)
        assert carried in second.output()
        assert one.row(quick)[0] == "done"
        status, epoch, length, text = one.row(slow)
        assert (status, epoch, length) == ("timeout", 1, len(text))
        assert text
        assert SCRIPTS["slow"].text.startswith(text)
        assert second.stop() == 0
        # Neither theirs nor what a killed worker had left.
        assert one.jobs() == 0


async def test_a_postgresql_that_is_restarted_costs_a_pause(redis_url: str, tmp_path: Path) -> None:
    """Running answers outlive the restart in their worker, and it takes new ones afterwards."""
    with (
        services.postgres(fsync="off") as postgres,
        postgres.database() as database,
        site(database, redis_url, tmp_path, workers=1) as one,
    ):
        async with Person() as person:
            stream = await person.ask(one.web.url, WORDS)
            reader = await person.follow(one.web.url, stream)
            await reader.until(60)
            # As `pg_ctl restart -m immediate` does.
            postgres.stop(signal.SIGQUIT)
            await asyncio.sleep(1)
            postgres.start()
            back = time.monotonic()
            await reader.until(one.row(stream)[2] + 1)
            assert time.monotonic() - back < 5
            again = await person.ask(one.web.url, WORDS)
            await (await person.follow(one.web.url, again)).until_end()
            await reader.until_end()
        assert reader.html == renderer.render(ANSWER)
        assert one.row(stream) == one.row(again) == ("done", 1, len(ANSWER), ANSWER)
        assert one.workers[0].is_running


async def test_workers_race_for_many_streams_and_each_runs_once(
    postgres_database: str, redis_url: str, provider_port: int, tmp_path: Path
) -> None:
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "OPENAI_MODELS": ",".join(SCRIPTS),
    }
    with site(postgres_database, redis_url, tmp_path, env, workers=0) as many:
        before = answered(provider_port)
        many.web.manage("shell", "--verbosity=0", "--command", PENDING)
        assert many.jobs() == STREAMS
        for _ in range(WORKERS):
            many.add_worker()
        wait_until(lambda: many.jobs() == 0, "All jobs are done")
        with psycopg.connect(postgres_database) as connection:
            rows = connection.execute(
                "SELECT s.status, s.epoch, string_agg(c.text, '' ORDER BY c.start) "
                "FROM streaming_stream s JOIN streaming_chunk c ON c.stream_id = s.id GROUP BY s.id"
            ).fetchall()
        assert rows == [("done", 1, SCRIPTS["quick"].text)] * STREAMS
        assert answered(provider_port) - before == STREAMS


def answered(port: int) -> int:
    """How many requests the provider got."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as response:
        return json.load(response)["requests"]

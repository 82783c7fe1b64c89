"""Real processes on a real PostgreSQL and Redis: live across processes, killed, and fenced."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from conversations.markdown import renderer
from tests.services import Server, running_server, wait_until

from .people import Person

pytestmark = pytest.mark.services

WORDS = "every word of this is stored before it is shown, and one writer writes it"
ANSWER = f'I received your message: "{WORDS}". How can I help you further?'


@pytest.fixture
def site(
    postgres_database: str, redis_url: str, tmp_path: Path
) -> Callable[..., Iterator[list[Server]]]:
    """`with site(2) as servers`: so many processes on one database and one Redis."""

    @contextmanager
    def start(number: int) -> Iterator[list[Server]]:
        env = {
            "DATABASE_URL": postgres_database,
            "REDIS_URL": redis_url,
            "REDIS_PREFIX": tmp_path.name,
            "ECHO_DELAY_MILLISECONDS": "45",
            # A writer is taken for dead sooner, so that the tests do not wait for it.
            "STREAMING_ABANDONED_SECONDS": "4",
            "STREAMING_SWEEP_SECONDS": "1",
        }
        with ExitStack() as stack:
            servers = []
            for index in range(number):
                folder = tmp_path / str(index)
                folder.mkdir()
                servers.append(stack.enter_context(running_server(folder, env)))
            yield servers

    return start


def row(url: str, stream: str) -> tuple[str, int, int, str]:
    """(status, epoch, length, text) of a stream, as the database has them."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT status, epoch, length FROM streaming_stream WHERE id = %s", [stream]
        ).fetchone()
        chunks = connection.execute(
            "SELECT text FROM streaming_chunk WHERE stream_id = %s ORDER BY start", [stream]
        ).fetchall()
    assert found
    return (*found, "".join(chunk[0] for chunk in chunks))


async def test_the_text_is_live_in_a_process_that_does_not_write_it(
    site: Callable, postgres_database: str
) -> None:
    with site(2) as (writing, reading):
        async with Person() as person:
            stream = await person.ask(writing.url, WORDS)
            reader = await person.follow(reading.url, stream)
            await reader.until_end()
        assert reader.html == renderer.render(ANSWER)
        assert row(postgres_database, stream) == ("done", 1, len(ANSWER), ANSWER)
        # Doorbells, not polls: about a frame for each character, not one every two seconds.
        assert len(reader.ends) > len(ANSWER) / 3
        assert reader.ends == sorted(reader.ends)


async def test_another_process_carries_on_when_the_writer_is_killed(
    site: Callable, postgres_database: str
) -> None:
    with site(2) as (writing, reading):
        async with Person() as person:
            stream = await person.ask(writing.url, WORDS)
            reader = await person.follow(reading.url, stream)
            await reader.until(30)
            writing.kill9()
            seen = reader.end
            assert row(postgres_database, stream)[3][:seen] == ANSWER[:seen]
            await reader.until_end()
        assert reader.status == "done"
        assert reader.html == renderer.render(ANSWER)
        status, epoch, length, text = row(postgres_database, stream)
        assert (status, epoch, length, text) == ("done", 2, len(ANSWER), ANSWER)


async def test_a_writer_that_slept_past_its_heartbeat_is_fenced(
    site: Callable, postgres_database: str
) -> None:
    with site(2) as (writing, reading):
        async with Person() as person:
            stream = await person.ask(writing.url, WORDS)
            reader = await person.follow(reading.url, stream)
            await reader.until(20)
            writing.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: row(postgres_database, stream)[1] == 2, "Another claims it")
            # The older writer wakes up while the newer one writes.
            writing.process.send_signal(signal.SIGCONT)
            await reader.until_end()
        assert reader.html == renderer.render(ANSWER)
        assert row(postgres_database, stream) == ("done", 2, len(ANSWER), ANSWER)
        with psycopg.connect(postgres_database) as connection:
            epochs = connection.execute(
                "SELECT epoch FROM streaming_chunk WHERE stream_id = %s ORDER BY start", [stream]
            ).fetchall()
        # Nothing of the older writer stands behind the newer one's first chunk.
        assert epochs == sorted(epochs)


PENDING = """
from uuid import uuid4
from chatsite.accounts.models import User
from conversations.actions import start_conversation
user = User()
user.set_unusable_password()
user.save()
for number in range(40):
    start_conversation(user, f"race {number}", key=uuid4(), model="echo:echo")
"""


def test_two_processes_race_for_each_stream_and_one_wins(
    site: Callable, postgres_database: str
) -> None:
    """Streams that nobody was told of: the sweeps of both processes find and claim them."""
    with site(2) as (first, _):
        first.manage("shell", "--command", PENDING)
        with psycopg.connect(postgres_database, autocommit=True) as connection:

            def open_streams() -> int:
                found = connection.execute(
                    "SELECT count(*) FROM streaming_stream WHERE status IN ('pending', 'streaming')"
                ).fetchone()
                assert found
                return found[0]

            wait_until(lambda: open_streams() == 0, "All streams end")
            rows = connection.execute(
                "SELECT s.status, s.epoch, s.length, sum(length(c.text)), max(m.content) "
                "FROM streaming_stream s JOIN streaming_chunk c ON c.stream_id = s.id "
                "JOIN conversations_message m ON m.stream_id = s.id GROUP BY s.id"
            ).fetchall()
    assert len(rows) == 40
    for status, epoch, length, characters, content in rows:
        assert (status, epoch, length) == ("done", 1, characters)
        assert len(content) == length

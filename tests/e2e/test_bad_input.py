"""What bad input and bad luck get from the real server."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from conversations.bench.page import composer_of
from conversations.lab.provider import Script, process
from tests.services import Server, running_server, wait_until

from .conftest import count
from .people import Person

KEY = "sk-canary-of-the-operator"
WORDS = "canary words of a person"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, {"DEFAULT_MODEL": "echo:echo"}) as site:
        yield site


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Another process writes to the site's SQLite file, and takes its time."""
    with closing(sqlite3.connect(server.folder / "db.sqlite3", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")


async def start_form(person: Person, server: Server) -> tuple[str, dict[str, str]]:
    """Where the start page's form is sent, and its fields."""
    form = composer_of(await person.get(server.url + "/"))
    return server.url + form.action, form.fields | {"model": "echo:echo"}


async def test_ten_first_posts_at_once_are_one_guest_one_message_and_one_answer(
    server: Server,
) -> None:
    async with Person() as person:
        url, fields = await start_form(person, server)

        async def send() -> tuple[int, str]:
            data = fields | {"content": "Once, please."}
            async with person.http.post(url, data=data, allow_redirects=False) as response:
                return response.status, response.headers.get("Location", "")

        answers = await asyncio.gather(*[send() for _ in range(10)])
    assert len(set(answers)) == 1
    assert answers[0][0] == 302
    assert answers[0][1].startswith("/c/")
    assert count(server, "accounts_user") == 1
    assert count(server, "conversations_conversation") == 1
    assert count(server, "conversations_message") == 2
    assert count(server, "streaming_stream") == 1


@pytest.mark.parametrize("htmx", [{}, {"HX-Request": "true"}], ids=["plain", "htmx"])
async def test_a_locked_database_is_503_with_the_text_and_the_form_works_after_it(
    server: Server, htmx: dict[str, str]
) -> None:
    async with Person() as person:
        url, fields = await start_form(person, server)
        data = fields | {"content": WORDS}
        with locked(server):
            async with person.http.post(url, data=data, headers=htmx) as response:
                page = await response.text()
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert WORDS in page
        assert "The server is busy." in page
        assert count(server, "accounts_user") == 0
        # The page's own form, sent again.
        again = data | {"key": composer_of(page).fields["key"]}
        async with person.http.post(url, data=again) as response:
            assert response.status == 200
    assert count(server, "conversations_message") == 2


FAILURES = {
    "unauthorised": Script(status=401),
    "failing": Script(status=500),
    "rejecting": Script(status=400),
    "in-stream": Script(error_after=2),
    "broken": Script(malformed_after=2),
    "cut": Script(cut_after=2),
    "odd": Script(content_type="text/html"),
}


async def test_the_log_holds_neither_keys_nor_what_people_wrote(tmp_path: Path) -> None:
    with process(FAILURES, tmp_path) as port:
        env = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "OPENAI_API_KEY": KEY,
            "OPENAI_MODELS": ",".join(FAILURES),
            "LOG_LEVEL": "DEBUG",
        }
        with running_server(tmp_path, env) as server:
            async with Person() as person:
                for model in FAILURES:
                    await person.send(server.url, f"{WORDS} {model}", f"openai:{model}")
                url, fields = await start_form(person, server)
                for data in (
                    {"content": WORDS * 2000},
                    {"content": WORDS, "key": "no key"},
                    {"content": f"{WORDS}\0"},
                    {"content": WORDS, "model": "openai:none"},
                ):
                    async with person.http.post(url, data=fields | data) as response:
                        assert response.status == 422
                await person.http.get(f"{server.url}/c/{uuid.uuid4()}/?q={WORDS}")
            wait_until(lambda: ended(server) == len(FAILURES), "All answers end")
            server.stop()
            output = server.output()
    assert "answer ended with" in output
    for secret in (KEY, WORDS, WORDS.replace(" ", "+"), WORDS.replace(" ", "%20"), "sk-canary"):
        assert secret not in output


def ended(server: Server) -> int:
    with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection:
        return connection.execute(
            "SELECT count(*) FROM streaming_stream WHERE status NOT IN ('pending', 'streaming')"
        ).fetchone()[0]

"""A site moved between SQLite files and a real PostgreSQL, also by a process that is killed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.services import ROOT, manage, site_env, site_template, wait_until

FILL = """
import json
from uuid import uuid4
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.utils import timezone
from chatsite.accounts.models import User
from conversations.actions import retry, start_conversation
from conversations.models import Conversation
from streaming.actions import end_stream
from streaming.models import Chunk, Status, Stream

with transaction.atomic():
    people = [User.objects.create_user(f"jürgen-{n}@example.com", "x") for n in range(3)]
    people.append(User.objects.guest_of("a" * 64))
    group = Group.objects.create(name="Wärter 🗝")
    group.permissions.set(Permission.objects.all()[:5])
    people[0].groups.add(group)
    people[1].user_permissions.set(Permission.objects.all()[3:9])
    LogEntry.objects.create(user=people[0], action_flag=1, object_repr="é",
                            content_type=ContentType.objects.get_for_model(User))
    for number in range(40):
        SessionStore().save(must_create=True)
    for number in range(150):
        sent = start_conversation(people[number % 4], f"Frage {number} 🧵 \\u202e", key=uuid4())
        answers = [sent.answer]
        for _ in range(2):
            stream = answers[-1].stream
            text = "näh\\n\\t\\\\'\\" 🧵 {} ".format(number)
            Chunk.objects.bulk_create(
                Chunk(stream=stream, start=at * len(text), text=text, epoch=1,
                      created_at=timezone.now()) for at in range(10)
            )
            Stream.objects.filter(pk=stream.pk).update(
                length=10 * len(text), epoch=1, status=Status.STREAMING
            )
            end_stream(stream.pk, Status.DONE, "stop", result={
                "usage": {"prompt_tokens": number, "é": None}, "pace": 0.1 + number, "z": [1, True]
            })
            if len(answers) == 1:
                answers.append(retry(answers[0], key=uuid4()))
        Conversation.objects.filter(pk=sent.conversation.pk).update(
            parameters={"temperature": 0.7, "b": {"a": 1}, "a": [None, "ü"]}, leaf=answers[0]
        )
    Conversation.objects.filter(title__contains="Frage 7").update(deleted_at=timezone.now())
"""
USE = """
from uuid import uuid4
from chatsite.accounts.models import User
from conversations.actions import start_conversation
person = User.objects.create_user("new@example.com", "x")
print(start_conversation(person, "new rows get new keys", key=uuid4()).answer.pk)
"""


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's SQLite file with a few thousand rows."""
    file = tmp_path_factory.mktemp("copydatabase") / "db.sqlite3"
    shutil.copy(site_template() / "db.sqlite3", file)
    manage(env_of(f"sqlite://{file}"), "shell", "--command", FILL)
    return file


@pytest.fixture
def source(filled: Path, tmp_path: Path) -> str:
    shutil.copy(filled, tmp_path / "source.sqlite3")
    return f"sqlite://{tmp_path / 'source.sqlite3'}"


def env_of(url: str) -> dict[str, str]:
    return site_env(Path("unused"), site_template() / "static") | {"DATABASE_URL": url}


def copy(source: str, target: str, *arguments: str) -> str:
    # The site's own database is neither of them.
    own = env_of(f"sqlite://{site_template() / 'db.sqlite3'}")
    return manage(own, "copydatabase", source, target, *arguments)


def rows_of(url: str) -> dict[str, list[Any]]:
    """All rows of all tables of an SQLite file, JSON by what it means.

    Without the search index, which a database makes of its rows: `index_is_whole` looks at it.
    """

    def value(raw: Any) -> Any:
        is_json = isinstance(raw, str) and raw.startswith("{")
        return json.dumps(json.loads(raw), sort_keys=True) if is_json else raw

    with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as database:
        names = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in ("django_migrations", "sqlite_sequence")
            and not name.startswith("conversations_search")
        ]
        return {
            name: sorted(
                ([value(one) for one in row] for row in database.execute(f"SELECT * FROM {name}")),
                key=repr,
            )
            for name in names
        }


def index_is_whole(url: str) -> bool:
    """Whether the search index of an SQLite file holds what its messages hold."""
    with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as database:
        # FTS5 compares every row of the table; it raises when one differs.
        database.execute(
            "INSERT INTO conversations_search(conversations_search, rank) "
            "VALUES ('integrity-check', 1)"
        )
        found = database.execute(
            "SELECT count(*) FROM conversations_search WHERE conversations_search MATCH '\"Frage\"'"
        ).fetchone()
    return found[0] > 100


@pytest.mark.services
def test_there_and_back_again_nothing_has_changed(
    source: str, postgres_database: str, tmp_path: Path
) -> None:
    output = copy(source, postgres_database, "--page-rows", "70")
    assert "rows of 18 tables were copied and proved equal." in output
    assert "streaming_chunk: 3000 rows" in output
    back = f"sqlite://{tmp_path / 'back.sqlite3'}"
    assert "proved equal" in copy(postgres_database, back)
    assert rows_of(back) == rows_of(source)
    assert index_is_whole(back)
    # Both go on as sites.
    verified = "300 streams checked: 0 problems, 0 repaired.\n"
    newest = max(row[0] for row in rows_of(source)["conversations_message"])
    for url in (postgres_database, back):
        assert manage(env_of(url), "verifystreams") == verified
        assert int(manage(env_of(url), "shell", "--command", USE).split()[-1]) > newest


@pytest.mark.services
def test_a_site_with_workers_is_reached_and_left_without_their_queue(
    source: str, postgres_database: str, tmp_path: Path
) -> None:
    distributed = env_of(postgres_database) | {"STREAMING_RUNNER": "procrastinate"}
    back = f"sqlite://{tmp_path / 'back.sqlite3'}"
    manage(distributed, "copydatabase", source, postgres_database)
    assert "proved equal" in manage(distributed, "copydatabase", postgres_database, back)
    assert manage(distributed, "migrate", "--check") == ""
    assert rows_of(back) == rows_of(source)


@pytest.mark.services
def test_a_copy_that_was_killed_goes_on_where_it_stood(
    source: str, postgres_database: str, tmp_path: Path
) -> None:
    def chunks() -> int:
        with psycopg.connect(postgres_database) as database:
            if database.execute("SELECT to_regclass('chatsite_copydatabase')").fetchone() == (
                None,
            ):
                return 0
            found = database.execute("SELECT count(*) FROM streaming_chunk").fetchone()
        return found[0] if found else 0

    arguments = ["copydatabase", source, postgres_database, "--page-rows", "3"]
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env_of(source),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: chunks() > 100, "Some chunks are copied", process=process)
    finally:
        process.kill()
        process.wait()
    copied = chunks()
    assert 100 < copied < 3_000
    output = copy(source, postgres_database)
    assert output.startswith("Going on with the copy that was cut short.\n")
    assert "streaming_stream: 300 rows copied" not in output
    assert f"streaming_chunk: {3_000 - copied} rows copied." in output
    assert "proved equal" in output
    back = f"sqlite://{tmp_path / 'back.sqlite3'}"
    copy(postgres_database, back)
    assert rows_of(back) == rows_of(source)


def test_a_row_that_differs_is_found(source: str, tmp_path: Path) -> None:
    """A trigger changes what is stored: counts agree, hashes do not."""
    target = tmp_path / "target.sqlite3"
    manage(env_of(f"sqlite://{target}"), "migrate", "--verbosity=0")
    with closing(sqlite3.connect(target)) as database:
        database.execute(
            "CREATE TRIGGER spoil AFTER INSERT ON streaming_chunk WHEN new.start > 100 BEGIN "
            "UPDATE streaming_chunk SET text = text || '.' WHERE id = new.id; END"
        )
    with pytest.raises(RuntimeError, match="differs from the source in streaming_chunk"):
        copy(source, f"sqlite://{target}")
    with pytest.raises(RuntimeError, match="differs from the source"):
        copy(source, f"sqlite://{target}")


def test_open_streams_are_copied_by_force_only(source: str, tmp_path: Path) -> None:
    manage(env_of(source), "shell", "--command", USE)
    target = f"sqlite://{tmp_path / 'target.sqlite3'}"
    with pytest.raises(RuntimeError, match="1 streams are open in the source"):
        copy(source, target)
    assert not (tmp_path / "target.sqlite3").exists()
    assert "proved equal" in copy(source, target, "--force")


def test_a_target_with_other_data_is_refused_and_left_alone(
    source: str, filled: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.sqlite3"
    shutil.copy(filled, other)
    before = rows_of(f"sqlite://{other}")
    with pytest.raises(RuntimeError, match="holds other data"):
        copy(source, f"sqlite://{other}")
    assert rows_of(f"sqlite://{other}") == before


@pytest.mark.parametrize(
    ("source_url", "target_url", "sentence"),
    [
        ("sqlite:////nowhere/db.sqlite3", "sqlite:////tmp/x.sqlite3", "There is no file"),
        ("mysql://x/y", "sqlite:////tmp/x.sqlite3", "allowed are postgres:// and sqlite:///"),
        ("sqlite:////tmp/x.sqlite3", "sqlite:////tmp/x.sqlite3", "the same database"),
        ("sqlite:////tmp/x.sqlite3", "", "empty"),
    ],
)
def test_nonsense_is_a_sentence(source_url: str, target_url: str, sentence: str) -> None:
    with pytest.raises(RuntimeError, match=sentence):
        copy(source_url, target_url)

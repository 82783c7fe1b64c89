from __future__ import annotations

import re
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatsite.env import database_from_url, envbool, envint, envlist, load_env_file
from streaming.conf import DEFAULTS
from tests.services import ROOT, manage, site_env


@pytest.fixture
def production(tmp_path):
    """The environment of a site behind a proxy that ends TLS."""
    return site_env(tmp_path / "db.sqlite3", tmp_path / "static") | {
        "HTTPS": "True",
        "ALLOWED_HOSTS": "chat.example.com",
        "SECRET_KEY": "tR5vXq2mZ8kLw4nB7cJd1fGh9sPy3uEa6oWi0xVtQrNzMbKlHjFgDsAp",
    }


def test_the_example_names_every_variable_that_is_read_and_no_other():
    read = set()
    for path in (ROOT / "chatsite").rglob("*.py"):
        read |= set(
            re.findall(r'\benv(?:str|bool|int|list|networks|_like)\(\s*"(\w+)"', path.read_text())
        )
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    # Those of `streaming` are read by its own list; the example names what operators may want.
    streaming = {f"STREAMING_{name}" for name in DEFAULTS}
    assert named - streaming == read
    assert {name for name in named if name.startswith("STREAMING_")} <= streaming


def test_every_setting_of_streaming_may_come_from_the_environment(production):
    variables = {"STREAMING_SWEEP_SECONDS": "0.25", "STREAMING_MAX_SOCKETS_PER_USER": "7"}
    code = "from django.conf import settings as s; "
    code += "print(s.STREAMING_SWEEP_SECONDS, s.STREAMING_MAX_SOCKETS_PER_USER)"
    assert manage(production | variables, "shell", "--verbosity=0", "-c", code) == "0.25 7\n"


def test_the_deployment_checks_find_nothing(production):
    assert "no issues" in manage(production, "check", "--deploy", "--fail-level=INFO")


def test_no_migration_is_missing(production):
    assert "No changes" in manage(production, "makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FIELD_ENCRYPTION_KEYS", "short", "chatsite.E001"),
        ("OWN_KEYS", "openai,magic", "chatsite.E002"),
        ("DEFAULT_MODEL", "gpt-4o", "chatsite.W002"),
        ("DATABASE_URL", "mysql://host/name", "DATABASE_URL has the scheme 'mysql'"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "TRUSTED_PROXIES: 10.0.0.1/8 has host bits set"),
        ("SECRET_KEY", "", "SECRET_KEY is not set. `make run` writes one"),
        ("STREAMING_RUNNER", "magic", "allowed are embedded, procrastinate, off."),
        ("STREAMING_RUNNER", "procrastinate", "streaming.E001"),
        ("DEBUG", "perhaps", "DEBUG='perhaps': allowed are True and False."),
    ],
)
def test_a_wrong_variable_is_named(production, name, value, message):
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level=WARNING"],
        cwd=ROOT,
        env=production | {name: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("command", ["check", "migrate", "serve", "collectstatic"])
def test_a_missing_key_is_one_sentence_whatever_the_command(production, command):
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=ROOT,
        env=production | {"SECRET_KEY": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("SECRET_KEY is not set. `make run` writes one into .env;")
    assert done.stderr.count("\n") == 1


def test_a_worker_says_that_it_is_ready_whatever_the_level(production):
    program = (
        "import django, logging; django.setup(); "
        "print(logging.getLogger('streaming.tasks').isEnabledFor(logging.INFO), "
        "logging.getLogger('streaming').isEnabledFor(logging.INFO))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=production | {"LOG_LEVEL": "WARNING", "DJANGO_SETTINGS_MODULE": "chatsite.settings"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_superuser_is_made_by_email(production):
    manage(production, "migrate", "--verbosity=0")
    password = {"DJANGO_SUPERUSER_PASSWORD": "correct horse battery staple"}
    create = ("createsuperuser", "--noinput", "--email", "Boss@Example.com")
    assert "created" in manage(production | password, *create)


def test_what_is_set_already_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATSITE_SET", "environment")
    # Set and deleted, so that what the file puts there is undone after the test.
    monkeypatch.setenv("CHATSITE_UNSET", "")
    monkeypatch.delenv("CHATSITE_UNSET")
    file = tmp_path / ".env"
    file.write_text("# CHATSITE_NO=1\nCHATSITE_SET=file\n CHATSITE_UNSET = 'a=b' \n\nnonsense\n")
    load_env_file(file)
    assert envlist("CHATSITE_SET", []) == ["environment"]
    assert envlist("CHATSITE_UNSET", []) == ["a=b"]


def test_numbers_and_switches_say_what_they_take(monkeypatch):
    monkeypatch.setenv("CHATSITE_SET", "many")
    with pytest.raises(ImproperlyConfigured, match="CHATSITE_SET='many': a whole number"):
        envint("CHATSITE_SET", 1)
    monkeypatch.setenv("CHATSITE_SET", "")
    assert envint("CHATSITE_SET", 7) == 7
    assert envbool("CHATSITE_SET", True) is True


def test_a_postgres_url_is_read_in_full():
    url = "postgres://us%40er:p%2Fw@db.example.com:6543/chat?sslmode=require"
    database = database_from_url(url, ROOT / "db.sqlite3")
    assert database["USER"] == "us@er"
    assert database["PASSWORD"] == "p/w"
    assert (database["HOST"], database["PORT"], database["NAME"]) == (
        "db.example.com",
        6543,
        "chat",
    )
    assert database["OPTIONS"]["sslmode"] == "require"


def test_a_process_holds_as_many_connections_as_it_may(monkeypatch):
    monkeypatch.setenv("DATABASE_POOL_SIZE", "5")
    pool = database_from_url("postgres://db/chat", ROOT / "db.sqlite3")["OPTIONS"]["pool"]
    assert (pool["min_size"], pool["max_size"]) == (2, 5)
    monkeypatch.setenv("DATABASE_POOL_SIZE", "1")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_POOL_SIZE=1: at least 2 are needed"):
        database_from_url("postgres://db/chat", ROOT / "db.sqlite3")

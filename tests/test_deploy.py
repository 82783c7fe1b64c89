"""What stands in `deploy/`: its files agree with each other, and a chat works through them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from chatsite.env import POSTGRESQL_POOL
from conversations.lab import services
from conversations.lab.process import Missing, find_program
from scripts.compose import Service, read_compose
from scripts.try_deploy import VARIABLES
from streaming.conf import DEFAULTS
from streaming.tasks import POOL as WORKER_POOL
from tests.services import ROOT, refuse

DEPLOY = ROOT / "deploy"
SITE = ("web1", "web2", "worker1", "worker2")
# What a drain may take beyond STREAMING_DRAIN_SECONDS: a worker's jobs have the longest.
AFTER_DRAIN_SECONDS = 15


@pytest.fixture
def compose() -> dict[str, Service]:
    return read_compose(DEPLOY / "compose.yaml", VARIABLES)


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_what_must_be_set_has_no_default() -> None:
    for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "ALLOWED_HOSTS", "POSTGRES_PASSWORD"):
        with pytest.raises(KeyError, match=f"{name} is not set"):
            read_compose(DEPLOY / "compose.yaml", VARIABLES | {name: ""})


def test_only_caddy_is_reached_from_outside(raw: dict) -> None:
    assert [name for name, service in raw.items() if "ports" in service] == ["caddy"]


def test_every_service_restarts_or_runs_once_and_is_bounded(raw: dict) -> None:
    for name, service in raw.items():
        once = name in ("migrate", "collectstatic")
        assert service["restart"] == ("no" if once else "unless-stopped"), name
        assert "mem_limit" in service, name
        assert service["logging"]["options"]["max-size"], name


def test_nothing_is_killed_before_its_drain_is_over(compose: dict[str, Service]) -> None:
    for name in SITE:
        env = compose[name].environment
        needed = float(env["STREAMING_DRAIN_SECONDS"]) + float(env["SHUTDOWN_NOTICE_SECONDS"])
        assert compose[name].stop_seconds > needed + AFTER_DRAIN_SECONDS, name
    for unit in (DEPLOY / "systemd").glob("*.service"):
        found = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
        assert found, unit
        assert int(found[1]) > DEFAULTS["DRAIN_SECONDS"] + AFTER_DRAIN_SECONDS, unit


def test_postgresql_has_a_connection_for_every_thread(compose: dict[str, Service]) -> None:
    options = compose["postgres"].command
    (allowed,) = [int(o.partition("=")[2]) for o in options if o.startswith("max_connections=")]
    web, worker = POSTGRESQL_POOL["max_size"], WORKER_POOL["max_size"]
    assert 4 * web + 2 * worker <= allowed - 10


def test_caddy_takes_the_body_that_the_site_takes(compose: dict[str, Service]) -> None:
    limit = compose["caddy"].environment["MAX_BODY_BYTES"]
    assert int(limit) == settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_the_image_has_what_the_site_imports() -> None:
    copied = re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == ["chatsite", "conversations", "streaming", "static", "templates"]
    sent = (ROOT / ".dockerignore").read_text()
    for name in [*copied, "manage.py", "requirements"]:
        assert f"!{name}\n" in sent


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/opt/chatsite/.venv/bin/python", "/bin/true")
        (tmp_path / unit.name.replace("@", "@8001")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(400)
@pytest.mark.services
def test_the_chat_works_through_what_is_deployed() -> None:
    try:
        find_program("caddy", "caddy")
        find_program("redis-server", "redis-server")
        if not (services.POSTGRES_BIN / "initdb").exists():
            raise Missing("PostgreSQL 15", "postgresql-15")
    except Missing as missing:
        refuse(missing)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.try_deploy"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything works." in done.stdout

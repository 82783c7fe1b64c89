"""The fault lab itself, in its short form: real processes, a real fault."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.services import ROOT, site_env


def faultlab(tmp_path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "faultlab", *arguments],
        cwd=ROOT,
        env=site_env(tmp_path / "db.sqlite3", tmp_path) | env,
        capture_output=True,
        text=True,
    )


def test_a_killed_generator_loses_nothing(tmp_path):
    done = faultlab(tmp_path, "F1", "--setup", "sqlite", "--short", "--seed", "1", "--json")
    (row,) = json.loads(done.stdout)
    assert row["passed"], done.stderr
    assert (row["fault"], row["setup"], row["runs"]) == ("F1", "sqlite", 20)
    assert (row["lost"], row["doubled"], row["reordered"]) == (0, 0, 0)
    assert row["recovery_s"]["worst"] >= row["recovery_s"]["median"] > 0
    assert done.returncode == 0


@pytest.mark.services
def test_the_same_form_on_two_servers_acts_once(tmp_path, postgres, redis_url):
    done = faultlab(tmp_path, "F23", "--setup", "postgres", "--short", "--seed", "1", "--json")
    (row,) = json.loads(done.stdout)
    assert row["passed"], done.stderr


def test_an_unknown_fault_is_named(tmp_path):
    done = faultlab(tmp_path, "F99")
    assert done.returncode == 1
    assert "No fault F99; known are F1" in done.stderr


def test_what_is_not_installed_is_told_before_the_first_run(tmp_path):
    done = faultlab(tmp_path, "F1", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "is not installed; on Debian: apt-get install" in done.stderr
    assert "sqlite" not in done.stderr

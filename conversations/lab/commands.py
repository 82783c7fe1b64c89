"""The site's own processes: `manage.py …` as web server, as worker, or run to its end."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .process import ROOT, Process, free_port


def site_env(database_url: str, static: Path) -> dict[str, str]:
    """The environment of a production site that reads no `.env`."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "ENV_FILE": os.devnull,
        "DATABASE_URL": database_url,
        "STATIC_ROOT": str(static),
        "SECRET_KEY": "lab-only-" + "x" * 50,
        "FIELD_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "LOCAL_MODEL": "off",
        # Providers are asked what a test or a measurement asks.
        "MODEL_TITLES": "False",
        "PYTHONUNBUFFERED": "1",
    }


class Command(Process):
    """`manage.py …` of this site as a process that stays."""

    def __init__(self, folder: Path, env: Mapping[str, str], *arguments: str, name: str) -> None:
        self.folder = folder
        command = [sys.executable, "manage.py", *arguments]
        super().__init__(command, log=folder / f"{name}.log", env=env)

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py beside this one; its standard output."""
        assert self.env is not None
        return manage(self.env, *arguments)


class Server(Command):
    """The site's web server, by `manage.py serve`; port, database and log stay over starts."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        name: str = "server",
    ) -> None:
        self.port = free_port()
        super().__init__(folder, env, "serve", "--port", str(self.port), *arguments, name=name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether a page is answered, with whatever status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            return False
        else:
            return True
        finally:
            connection.close()


class Worker(Command):
    """A worker of the distributed mode, by `manage.py procrastinate worker`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        name: str = "worker",
    ) -> None:
        super().__init__(folder, env, "procrastinate", "worker", *arguments, name=name)

    def answers(self) -> bool:
        return "Ready for answers" in self.output_since_start()


def manage(env: Mapping[str, str], *arguments: str) -> str:
    """Run a command of manage.py to its end; its standard output. Raises RuntimeError."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout

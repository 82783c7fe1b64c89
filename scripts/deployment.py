"""The services of `deploy/compose.yaml` as processes of this machine, without containers.

Commands and environments are those of the file, and Caddy's configuration is the Caddyfile. What
containers bring along is replaced, and no more: host names, addresses and ports, the paths of
volumes, and the programs themselves.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from conversations.lab.process import (
    ROOT,
    Process,
    destroying,
    find_program,
    free_port,
    listens,
    wait_until,
)
from conversations.lab.services import postgres
from scripts.compose import Service, read_compose

DEPLOY = ROOT / "deploy"
# Where the image and the volumes have their files.
STATIC_VOLUME, STATIC_FOLDER = "/srv/www/static", "/srv/www"


class Web(Process):
    """A web process; up once its own health check would say so."""

    port: int

    def answers(self) -> bool:
        return http_status(self.port, "/readyz") == 200


class Worker(Process):
    """A worker; up once it waits for jobs."""

    def launch(self) -> None:
        # The log stays over restarts, and what it said before is no sign of this start.
        self._seen = len(self.output())
        super().launch()

    def answers(self) -> bool:
        return "Starting worker" in self.output()[self._seen :]


class Redis(Process):
    """Redis; up once it listens."""

    port: int

    def answers(self) -> bool:
        return listens(self.port)


class Caddy(Process):
    """Caddy; up once it listens and, with TLS, has a certificate to show."""

    port: int
    has_tls: bool

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                if self.has_tls:
                    # Whether to trust it is the visitors' business.
                    tls = ssl._create_unverified_context()
                    tls.wrap_socket(connection, server_hostname="localhost").close()
        except OSError:
            return False
        else:
            return True


@dataclass
class Deployment:
    """All services, running; `with Deployment(…).running()`."""

    folder: Path
    variables: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Service] = field(init=False)

    def __post_init__(self) -> None:
        self.services = read_compose(DEPLOY / "compose.yaml", self.variables)
        self.ports = {name: free_port() for name in ("web1", "web2", "redis", "caddy")}

    @property
    def url(self) -> str:
        scheme = "http" if self.variables["SITE_ADDRESS"].startswith("http:") else "https"
        return f"{scheme}://localhost:{self.ports['caddy']}"

    @property
    def database_url(self) -> str:
        return self.local(self.services["web1"].environment["DATABASE_URL"])

    @property
    def authority(self) -> Path:
        """The certificate of the authority that Caddy makes for `localhost`."""
        return self.folder / "caddy/caddy/pki/authorities/local/root.crt"

    @contextmanager
    def running(self) -> Iterator[Deployment]:
        """Start everything in the order of the compose file's conditions. Raises Missing."""
        find_program("caddy", "caddy")
        with ExitStack() as stack:
            self._start_postgres(stack)
            self._start_redis(stack)
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._run_to_end, ("migrate", "collectstatic")))
            self._start_site(stack, ["worker1", "worker2", "web1", "web2"])
            self._start_caddy(stack)
            yield self

    def restart(self, name: str) -> float:
        """Stop a service as `docker compose up` would, and start it anew; seconds it took to stop.

        Raises TimeoutError when it would have been killed.
        """
        process, seconds = self.processes[name], self.services[name].stop_seconds
        began = time.monotonic()
        process.process.terminate()
        wait_until(lambda: not process.is_running, f"{name} stops", seconds=seconds)
        took = time.monotonic() - began
        process.start()
        return took

    def change(self, **variables: str) -> None:
        """Start the web processes and Caddy anew under other variables of `.env`."""
        self.variables |= variables
        self.services = read_compose(DEPLOY / "compose.yaml", self.variables)
        changed = [self.processes[name] for name in ("caddy", "web1", "web2")]
        # Once: a second signal would not wait for the drain.
        for process in changed:
            process.process.terminate()
        for process in changed:
            process.process.wait(self.services["web1"].stop_seconds)
        for name in ("web1", "web2"):
            self.processes[name].env = self.environment(name)
            self.processes[name].launch()
        for name in ("web1", "web2"):
            self.processes[name].wait_ready()
        config = self.caddy_config(self.ports["caddy"])
        self.caddy_file.write_text(json.dumps(config))
        self.processes["caddy"].has_tls = self.url.startswith("https:")
        self.processes["caddy"].start()

    # --- What containers would bring

    def local(self, text: str) -> str:
        """Names, ports and paths of containers as they are here."""
        for place, port in (
            ("postgres:5432", self.ports.get("postgres")),
            ("redis:6379", self.ports["redis"]),
            ("web1:8000", self.ports["web1"]),
            ("web2:8000", self.ports["web2"]),
        ):
            text = text.replace(place, f"127.0.0.1:{port}")
        return text.replace(STATIC_FOLDER, str(self.folder / "www"))

    def environment(self, name: str) -> dict[str, str]:
        """The service's variables, and what its image sets."""
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        image = {"ENV_FILE": os.devnull, "PYTHONUNBUFFERED": "1", "LOCAL_MODEL": "off"}
        env = keep | image | {"STATIC_ROOT": STATIC_VOLUME} | self.services[name].environment
        if "TRUSTED_PROXIES" in env:
            # Caddy's address here; other loopback addresses play the clients.
            env["TRUSTED_PROXIES"] = "127.0.0.1"
        return {key: self.local(value) for key, value in env.items()}

    def command(self, name: str) -> list[str]:
        """The service's command, of this environment's Python, at its port here."""
        command = list(self.services[name].command)
        if command[0] == "python":
            command[0] = sys.executable
        for option, value in (("--host", "127.0.0.1"), ("--port", str(self.ports.get(name)))):
            if option in command:
                command[command.index(option) + 1] = value
        return command

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # --- The services

    def _start_postgres(self, stack: ExitStack) -> None:
        """PostgreSQL with the options of the compose file, an empty cluster and its database."""
        program, *options = self.services["postgres"].command
        assert program == "postgres"
        assert options[::2] == ["-c"] * (len(options) // 2)
        settings = dict(option.split("=", 1) for option in options[1::2])
        server = stack.enter_context(postgres(**settings))
        self.ports["postgres"] = server.port
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE chatsite")

    def _start_redis(self, stack: ExitStack) -> None:
        port, command = self.ports["redis"], self.services["redis"].command
        own = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.folder)]
        program = find_program(command[0], "redis-server")
        redis = Redis([program, *command[1:], *own], log=self.log("redis"))
        redis.port = port
        self._start(stack, "redis", redis)

    def _run_to_end(self, name: str) -> None:
        done = subprocess.run(
            self.command(name),
            cwd=ROOT,
            env=self.environment(name),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stdout}{done.stderr}")

    def _start_site(self, stack: ExitStack, names: list[str]) -> None:
        """Start web processes and workers side by side."""
        for name in names:
            kind = Web if name.startswith("web") else Worker
            process: Any = kind(self.command(name), log=self.log(name), env=self.environment(name))
            process.port = self.ports.get(name)
            stack.enter_context(destroying(process))
            self.processes[name] = process
            process.launch()
        for name in names:
            self.processes[name].wait_ready()

    def _start_caddy(self, stack: ExitStack) -> None:
        port = self.ports["caddy"]
        self.caddy_file.write_text(json.dumps(self.caddy_config(port)))
        self._start(stack, "caddy", self.caddy(self.caddy_file, port))

    @property
    def caddy_file(self) -> Path:
        return self.folder / "caddy.json"

    def caddy(self, config: Path, port: int) -> Caddy:
        """Caddy with a finished configuration; its files stay in this deployment's folder."""
        program, run, *_ = self.services["caddy"].command
        assert (program, run) == ("caddy", "run")
        folders = {f"XDG_{kind}_HOME": str(self.folder / "caddy") for kind in ("DATA", "CONFIG")}
        caddy = Caddy(
            [find_program(program, "caddy"), run, "--config", config],
            log=self.log(config.stem),
            env=self.environment("caddy") | folders,
        )
        caddy.port, caddy.has_tls = port, self.url.startswith("https:")
        return caddy

    def caddy_config(self, port: int) -> dict[str, Any]:
        """The Caddyfile as Caddy itself reads it, on `port` of loopback."""
        done = subprocess.run(
            [find_program("caddy", "caddy"), "adapt", "--config", str(DEPLOY / "Caddyfile")],
            env=self.environment("caddy"),
            capture_output=True,
            text=True,
            check=True,
        )
        config: dict[str, Any] = json.loads(done.stdout)
        config["admin"] = {"disabled": True, "config": {"persist": False}}
        http = config["apps"]["http"]
        (server,) = http["servers"].values()
        is_https = server["listen"] == [":443"]
        server["listen"] = [f"127.0.0.1:{port}"]
        http["https_port"], http["http_port"] = port, free_port()
        if not is_https:
            http["https_port"], http["http_port"] = http["http_port"], port
        return config

    def _start(self, stack: ExitStack, name: str, process: Process) -> None:
        stack.enter_context(destroying(process))
        self.processes[name] = process
        process.start()


def http_status(port: int, path: str) -> int:
    """The status of a plain HTTP request, 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()

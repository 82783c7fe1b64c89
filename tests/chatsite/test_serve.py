from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from chatsite.servers import SERVERS
from conversations.lab.process import Process, destroying
from tests.services import (
    ROOT,
    free_port,
    listens,
    running_server,
    site_env,
    site_template,
    wait_until,
)


@pytest.fixture(params=sorted(SERVERS))
def arguments(request) -> list[str]:
    """What makes `serve` run each of its servers."""
    return ["--server", request.param]


def test_it_serves_pages_and_says_where(tmp_path, arguments):
    with running_server(tmp_path, arguments=arguments) as server:
        assert f"Serving on {server.url}/" in server.output()
        assert server.stop() == 0


def test_it_stops_although_a_connection_stays_open(tmp_path, arguments):
    with running_server(tmp_path, arguments=arguments) as server:
        idle = http.client.HTTPConnection("127.0.0.1", server.port)
        idle.request("GET", "/")
        idle.getresponse().read()
        assert server.stop(signal.SIGINT) == 0
        idle.close()
        assert "Traceback" not in server.output()


def test_a_second_signal_does_not_wait_for_the_first(tmp_path, arguments):
    with running_server(tmp_path, arguments=arguments) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.stop(signal.SIGTERM) == 0


def test_it_gives_notice_before_it_drains(tmp_path, arguments):
    env = {"SHUTDOWN_NOTICE_SECONDS": "2"}
    with running_server(tmp_path, env=env, arguments=arguments) as server:
        assert readiness(server) == (200, "ok")
        server.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        wait_until(lambda: readiness(server) == (503, "draining"), "The proxy may know", seconds=1)
        # Until the proxy does, it sends requests, and they are answered.
        assert status_for(server, "127.0.0.1") == 200
        assert server.stop(0) == 0
        assert time.monotonic() - asked >= 2


def test_it_starts_again_after_a_kill(tmp_path):
    with running_server(tmp_path) as server:
        first = server.pid
        server.kill9()
        server.start()
        assert server.pid != first
        assert server.answers()


def test_it_runs_on_pythons_own_loop_too(tmp_path, arguments):
    with running_server(tmp_path, env={"UVLOOP": "False"}, arguments=arguments) as server:
        assert server.stop() == 0


def test_it_is_small_when_idle(tmp_path, arguments):
    with running_server(tmp_path, arguments=arguments) as server:
        assert resident_mib(server.pid) <= 130


def test_a_long_header_is_refused(tmp_path, arguments):
    with running_server(tmp_path, arguments=arguments) as server:
        # Daphne hangs up without a word.
        with suppress(ConnectionError):
            assert status_for(server, "127.0.0.1", {"X-Long": "x" * 2_000_000}) in (400, 431)
        assert server.answers()
        assert resident_mib(server.pid) <= 130


@pytest.mark.parametrize("command", [["daphne"], ["uvicorn", "--ws", "websockets-sansio"]])
def test_the_servers_own_commands_run_the_site_too(tmp_path, command):
    """Without `serve` the supervisor starts all the same: an orphan of the database is found."""
    template = site_template()
    shutil.copy(template / "db.sqlite3", tmp_path)
    env = site_env(tmp_path / "db.sqlite3", template / "static")
    port = free_port()
    program = [sys.executable, "-m", *command, "--port", str(port), "chatsite.asgi:application"]
    process = Process(program, log=tmp_path / "log", env=env)
    with destroying(process):
        process.launch()
        wait_until(lambda: listens(port), "It listens", process=process.process)
        # No request has come yet: the first one finds the runner at work.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            assert json.load(answer)["runner"] == "ok"
        # uvicorn ends by the signal that it was given.
        assert process.stop() in (0, -signal.SIGTERM)


def test_a_taken_port_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(tmp_path, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"CommandError: Cannot listen on 127.0.0.1:{port} (Address already in use); "
        f"choose another port, for example --port {port + 1} (make run PORT=…)."
    ]


def test_a_host_of_another_machine_is_refused_too(tmp_path):
    done = serve(tmp_path, "--host", "192.0.2.1")
    assert done.returncode == 1
    assert "Cannot listen on 192.0.2.1:8000" in done.stderr


def test_others_reach_it_by_the_machines_names_and_no_others(tmp_path):
    with running_server(tmp_path, arguments=["--host", "0.0.0.0"]) as server:
        assert f"Serving on http://{socket.gethostname()}:{server.port}/" in server.output()
        assert status_for(server, socket.gethostname()) != 400
        assert status_for(server, "evil.example") == 400


def test_allowed_hosts_wins_over_the_machines_names(tmp_path):
    env = {"ALLOWED_HOSTS": "chat.example.com,127.0.0.1"}
    with running_server(tmp_path, env=env, arguments=["--host", "0.0.0.0"]) as server:
        assert status_for(server, "chat.example.com") != 400
        assert status_for(server, socket.gethostname()) == 400


def status_for(server, host: str, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(
        "GET", "/accounts/sign-in/", headers={"Host": f"{host}:{server.port}", **(headers or {})}
    )
    status = connection.getresponse().status
    connection.close()
    return status


def readiness(server) -> tuple[int, str]:
    """(status, state of the server) as a proxy asks for them."""
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)["server"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["server"]


def serve(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = site_env(site_template() / "db.sqlite3", site_template() / "static")
    return subprocess.run(
        [sys.executable, "manage.py", "serve", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024

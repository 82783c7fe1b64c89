"""Tabs that handshake, follow and never read, against the real server: what they cost, and end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chatsite.servers import SERVERS
from conversations.lab.provider import Script, process
from conversations.lab.sockets import deaf_socket, established
from conversations.markdown import renderer
from tests.services import Server, running_server, wait_until

from .people import Person

TABS = 100
# About 0.8 MB in 4 s.
TEXT = "".join(f"Paragraph {n} of a long answer: {'word ' * 40}\n\n" for n in range(3_500))
# A paragraph that makes a larger message than a page may send.
FLAT = "word " * 300_000
# The real times are 45 and 10.
UNACKED_SECONDS, HEARTBEAT_SECONDS = 4.0, 1.0
CLOSE_SECONDS = 5.0


@pytest.fixture(scope="module")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    scripts = {
        "fast": Script(text=TEXT, size=4_000, rate=50),
        "flat": Script(text=FLAT, size=200_000, rate=20),
    }
    with process(scripts, tmp_path_factory.mktemp("provider")) as port:
        yield port


@pytest.fixture(params=sorted(SERVERS))
def server(request, provider_port: int, tmp_path: Path) -> Iterator[Server]:
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "OPENAI_MODELS": "fast,flat",
        "STREAMING_UNACKED_SECONDS": str(UNACKED_SECONDS),
        "STREAMING_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        "STREAMING_MAX_SOCKETS_PER_USER": str(TABS + 10),
    }
    with running_server(tmp_path, env, ["--server", request.param]) as site:
        yield site


def deaf_tab(server: Server, cookie: str, stream: str) -> socket.socket:
    """A socket that follows the stream from nothing and reads no more than its handshake."""
    messages = (
        {"type": "hello", "generation": 1},
        {"type": "follow", "stream": stream, "cut": -1, "key": ""},
    )
    return deaf_socket(server.port, "/ws/streaming/", cookie, messages)


def resident_mib(server: Server) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def connections(server: Server) -> int:
    return len(established(server.port))


async def test_a_hundred_deaf_tabs_cost_little_and_are_closed(
    server: Server,
) -> None:
    async with Person() as person, asyncio.timeout(120):
        # What such an answer costs without them.
        stream = await person.ask(server.url, "Much, please", model="openai:fast")
        await (await person.follow(server.url, stream)).until_end()
        before = resident_mib(server)
        stream = await person.ask(server.url, "Much, please", model="openai:fast")
        reader = await person.follow(server.url, stream)
        # What each would get at once is far more than it may be given.
        await reader.until(len(TEXT) * 2 // 3)
        cookie = "; ".join(f"{one.key}={one.value}" for one in person.http.cookie_jar)
        reading = asyncio.create_task(reader.until_end())
        with ExitStack() as stack:
            opened = time.monotonic()
            for _ in range(TABS):
                tab = await asyncio.to_thread(deaf_tab, server, cookie, stream)
                stack.enter_context(tab)
            most = 0.0
            while connections(server) > TABS // 2:
                most = max(most, resident_mib(server) - before)
                assert time.monotonic() - opened < 60
                await asyncio.sleep(0.1)
            await reading
            await asyncio.to_thread(
                wait_until,
                lambda: connections(server) < 5,
                "All are closed",
                seconds=UNACKED_SECONDS + 2 * HEARTBEAT_SECONDS + CLOSE_SECONDS,
            )
        assert most <= 100
        assert reader.html == renderer.render(TEXT)
        assert "Traceback" not in server.output()


async def test_a_paragraph_of_a_megabyte_and_a_half_reaches_its_page(server: Server) -> None:
    async with Person() as person, asyncio.timeout(60):
        stream = await person.ask(server.url, "On and on", model="openai:flat")
        reader = await person.follow(server.url, stream)
        await reader.until_end()
        assert reader.html == renderer.render(FLAT)
        assert "Traceback" not in server.output()

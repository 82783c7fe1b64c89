"""A scripted model server on loopback that speaks as OpenAI and as Anthropic do, also badly.

In a test:             async with running({"slow": Script(rate=50)}) as server: … server.openai_url
In a process of its own, which prints its port:

    python -m conversations.lab.provider --port 0 --script FILE

The script of an answer is the one named by the request's model, else the one in the newest
message (`script {"tokens": 300, "rate": 50}`), else the default. FILE holds scripts by model name.
GET /stats says how many requests came, are open, were answered, and were left by their client;
GET /calls tells each of them, in seconds of the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from .script import Said, Script, anthropic_events, openai_events

PARTING_SECONDS = 0.005
SCRIPT_IN_MESSAGE = re.compile(r"script\s+(\{.*\})", re.DOTALL)


@dataclass
class Stats:
    """What the server has seen; `left` counts answers whose client went away."""

    requests: int = 0
    open: int = 0
    done: int = 0
    left: int = 0


@dataclass
class Call:
    """One request for an answer."""

    name: str
    # Which process asked, where its base URL says so (`/by/<caller>`).
    caller: str
    began_at: float
    # Tokens that were written, and when the last event was.
    tokens: int = 0
    wrote_at: float = 0.0
    # When it was answered or its client had left it; 0 while it is open.
    ended_at: float = 0.0
    was_left: bool = False


class ProviderServer:
    """The running server; change `scripts` at any time, look at `stats` and `seen`."""

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self.scripts = dict(scripts or {})
        self.stats = Stats()
        # (headers, body) of each request for an answer, oldest first.
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.calls: list[Call] = []
        # Ports of the clients: one for each connection.
        self.clients: list[int] = []
        self.models: list[dict[str, Any]] = [{"id": "default"}]
        self.models_status = 200
        self.changed = asyncio.Condition()
        self.port = 0

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, **expected: int) -> None:
        """Wait until `stats` has these values."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: asdict(self.stats).items() >= expected.items())

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        for by in ("", "/by/{caller}"):
            app.router.add_post(f"{by}/v1/chat/completions", self._openai)
            app.router.add_post(f"{by}/v1/messages", self._anthropic)
            app.router.add_get(f"{by}/v1/models", self._list)
        app.router.add_get("/stats", self._stats)
        app.router.add_get("/calls", self._list_calls)
        return app

    async def start(self, port: int = 0) -> web.AppRunner:
        # Cancellation tells the handler at once that its client is gone.
        runner = web.AppRunner(
            self.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats))

    async def _list_calls(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _list(self, request: web.Request) -> web.Response:
        # `headers` matter with a redirecting status alone.
        headers = {"Location": "/stats"}
        return web.json_response({"data": self.models}, status=self.models_status, headers=headers)

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, openai_events)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, anthropic_events)

    async def _serve(self, request: web.Request, events: Any) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((dict(request.headers), body))
        assert request.transport is not None
        self.clients.append(request.transport.get_extra_info("peername")[1])
        await self._count(requests=1, open=1)
        script = self._script(body)
        caller = request.match_info.get("caller", "")
        call = Call(script.name or body["model"], caller, time.monotonic())
        self.calls.append(call)
        try:
            response = await self._answer(request, call, script, events, body)
        except (asyncio.CancelledError, ConnectionError):
            call.ended_at, call.was_left = time.monotonic(), True
            # Shielded: the count must not be lost with the request.
            await asyncio.shield(self._count(left=1, open=-1))
            raise
        call.ended_at = time.monotonic()
        await self._count(done=1, open=-1)
        return response

    async def _count(self, **steps: int) -> None:
        for name, step in steps.items():
            setattr(self.stats, name, getattr(self.stats, name) + step)
        async with self.changed:
            self.changed.notify_all()

    def _script(self, body: dict[str, Any]) -> Script:
        if found := self.scripts.get(body["model"]):
            return found
        newest = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
        if written := SCRIPT_IN_MESSAGE.search(newest):
            return Script(**json.loads(written[1]))
        return self.scripts.get("default", Script())

    async def _answer(
        self,
        request: web.Request,
        call: Call,
        script: Script,
        events: Callable[[Script, dict[str, Any]], Iterator[Said]],
        body: dict[str, Any],
    ) -> web.StreamResponse:
        count = sum(one.name == call.name for one in self.calls)
        await asyncio.sleep(script.delay)
        if script.refuse_field and script.refuse_field in body:
            message = f"Unknown parameter: '{script.refuse_field}'."
            return web.json_response({"error": {"message": message}}, status=400)
        if script.status != 200 and (script.refusals is None or count <= script.refusals):
            headers = {"Retry-After": script.retry_after} if script.retry_after else {}
            headers |= {"Location": "/elsewhere"} if 300 <= script.status < 400 else {}
            answer = {"error": script.error}
            return web.json_response(answer, status=script.status, headers=headers)
        response = web.StreamResponse(headers={"Content-Type": script.content_type})
        await response.prepare(request)
        if script.bom:
            await response.write(b"\xef\xbb\xbf")
        await self._stream(request, response, call, script, events(script, body))
        return response

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        call: Call,
        script: Script,
        events: Iterator[Said],
    ) -> None:
        """Write the events, each at its own absolute time."""
        loop = asyncio.get_running_loop()
        if script.per_event > 1:
            # Made beside the loop: other answers keep their times.
            events = iter(await asyncio.to_thread(list, events))
        began = loop.time()
        for event in events:
            if event.number is not None or event.due:
                # Also where nothing is waited for, other streams get their turn.
                await asyncio.sleep(max(0.0, began + event.due - loop.time()))
            if event.number is not None:
                if event.number == script.stall_after:
                    await stall(response, event, script.drip)
                if event.number == script.cut_after:
                    cut(request, script.cut)
                    return
                call.tokens += 1
            await write(response, event, script)
            call.wrote_at = loop.time()
        while script.hold_open:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.05)


async def write(response: web.StreamResponse, event: Said, script: Script) -> None:
    data = event.text.encode("utf-8", "surrogateescape")
    if script.parted and event.number is not None:
        at = event.number % len(data)
        await response.write(data[:at])
        # Long enough for the first part to be read alone.
        await asyncio.sleep(PARTING_SECONDS)
        await response.write(data[at:])
        return
    for at in range(0, len(data), script.split or len(data)):
        await response.write(data[at : at + (script.split or len(data))])
        if script.split:
            # Two turns of the loop: what is written is read before the next piece comes.
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def stall(response: web.StreamResponse, event: Said, drip: float) -> None:
    """Fall silent, or write the event byte by byte, for as long as the client stays."""
    while drip:
        for byte in event.text.encode():
            await asyncio.sleep(drip)
            await response.write(bytes([byte]))
    await asyncio.Event().wait()


def cut(request: web.Request, how: str) -> None:
    """End the connection in mid-answer: FIN, RST, or a proper end of the HTTP answer (eof)."""
    transport = request.transport
    assert transport is not None
    if how == "rst":
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif how == "fin":
        transport.close()


@contextlib.asynccontextmanager
async def running(scripts: Mapping[str, Script] | None = None) -> AsyncIterator[ProviderServer]:
    """A server in this process, on a free port."""
    server = ProviderServer(scripts)
    runner = await server.start()
    try:
        yield server
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def process(scripts: Mapping[str, Script], folder: Path) -> Iterator[int]:
    """A server in a process of its own; gives its port. `folder` takes the scripts' file."""
    file = folder / "provider-scripts.json"
    file.write_text(json.dumps({name: asdict(script) for name, script in scripts.items()}))
    command = [sys.executable, "-m", "conversations.lab.provider", "--script", str(file)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.communicate()


async def serve(port: int, scripts: Mapping[str, Script]) -> None:
    server = ProviderServer(scripts)
    await server.start(port)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted model server on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, printed")
    parser.add_argument("--script", type=Path, help="JSON file: scripts by model name")
    options = parser.parse_args()
    given = json.loads(options.script.read_text()) if options.script else {}
    scripts = {name: Script(**fields) for name, fields in given.items()}
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, scripts))


if __name__ == "__main__":
    main()

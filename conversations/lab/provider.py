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
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from .texts import tokens

SCRIPT_IN_MESSAGE = re.compile(r"script\s+(\{.*\})", re.DOTALL)


@dataclass(frozen=True)
class Script:
    """How one answer goes; "after" counts tokens."""

    # The answer; empty: numbered tokens ("00001 …"), or Markdown of marked words for a `name`.
    text: str = ""
    name: str = ""
    tokens: int = 20
    # Characters of a token.
    size: int = 22
    # Tokens a second by absolute deadlines; 0: at once.
    rate: float = 0
    # Seconds before the first byte.
    delay: float = 0
    endless: bool = False
    # How the answer ends early: silence, an end of the connection (fin, rst, or "eof", a proper
    # end of the HTTP answer without the provider's end), an error event, or broken JSON.
    stall_after: int | None = None
    cut_after: int | None = None
    cut: str = "fin"
    error_after: int | None = None
    error: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "server_error", "message": "secret-body sk-canary"}
    )
    malformed_after: int | None = None
    # Refuse with this status: always, or the first `refusals` requests of this model.
    status: int = 200
    refusals: int | None = None
    retry_after: str = ""
    # Answer 400 to requests that name this field.
    refuse_field: str = ""
    content_type: str = "text/event-stream"
    # Send these events' data instead of an answer.
    raw: tuple[str, ...] = ()
    reasoning: str = ""
    reasoning_field: str = "reasoning_content"
    finish: str = "stop"
    # The connection stays open, with comments, after "finish" (the reason) or "done" (everything).
    hold_open: str = ""
    # The form of the events.
    line_end: str = "\n"
    bom: bool = False
    comments: bool = False
    multiline: bool = False
    # Bytes of each write; 0: one write for each event.
    split: int = 0

    def pieces(self) -> Iterator[str]:
        """The answer's tokens: one mark each with a `name`, else of `size` characters."""
        if self.text:
            for at in range(0, len(self.text), self.size):
                yield self.text[at : at + self.size]
            return
        if self.name:
            yield from tokens(self.name, self.tokens)
            return
        number = 0
        while self.endless or number < self.tokens:
            number += 1
            yield f"{number:05d} ".ljust(self.size, "x")

    def changed(self) -> dict[str, Any]:
        """The fields that differ from the default: what a message needs to say of the script."""
        default = asdict(Script())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def pieces_after(self, prefix: str) -> Iterator[str]:
        """The tokens that follow `prefix`. Raises ValueError when the answer begins otherwise."""
        left = len(prefix)
        if not self.endless and not self.answer.startswith(prefix):
            raise ValueError("The answer does not begin with the prefix.")
        for piece in self.pieces():
            if left < len(piece):
                yield piece[left:]
            left = max(0, left - len(piece))

    @property
    def answer(self) -> str:
        """The whole text that a client should end up with."""
        return "".join(self.pieces())


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
    # Tokens that were written.
    tokens: int = 0
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
        self._requests_of: dict[str, int] = {}

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
            response = await self._answer(request, call, script, body, events)
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
        body: dict[str, Any],
        events: Any,
    ) -> web.StreamResponse:
        count = self._requests_of[body["model"]] = self._requests_of.get(body["model"], 0) + 1
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
        events: Any,
    ) -> None:
        """Write the events, each token at its own absolute time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, is_token, event in events:
            if is_token:
                # Also where nothing is waited for, other streams get their turn.
                due = began + number / script.rate if script.rate else 0
                await asyncio.sleep(max(0.0, due - loop.time()))
                if number == script.stall_after:
                    await asyncio.Event().wait()
                if number == script.cut_after:
                    cut(request, script.cut)
                    return
            await write(response, event, script.split)
            call.tokens += is_token
        while script.hold_open:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.05)


async def write(response: web.StreamResponse, event: str, split: int) -> None:
    data = event.encode("utf-8")
    for at in range(0, len(data), split or len(data)):
        await response.write(data[at : at + (split or len(data))])
        if split:
            # Two turns of the loop: what is written is read before the next piece comes.
            await asyncio.sleep(0)
            await asyncio.sleep(0)


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


def framed(script: Script, data: Any, name: str = "") -> str:
    """`data` as one server-sent event in the script's form."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    if script.multiline and not isinstance(data, str):
        text = json.dumps(data, ensure_ascii=False, indent=1)
    lines = [f"event: {name}"] if name else []
    lines += [": a comment"] if script.comments else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return script.line_end.join([*lines, "", ""])


def faulty(script: Script, number: int) -> str | None:
    """The event that takes the place of token `number`, if the script wants a fault there."""
    if number == script.malformed_after:
        return framed(script, '{"choices": [')
    if number == script.error_after:
        return framed(script, {"type": "error", "error": dict(script.error)}, "error")
    return None


def prefix_of(body: dict[str, Any]) -> str:
    """The final assistant message, which such a server writes on; empty without one."""
    last = body["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


def openai_events(script: Script, body: dict[str, Any]) -> Iterator[tuple[int, bool, str]]:
    """(number of the token, whether it is one, event) of a streamed chat completion."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return framed(script, {"object": "chat.completion.chunk", "choices": [choice]})

    if script.raw:
        yield from ((0, False, framed(script, data)) for data in script.raw)
        return
    yield 0, False, chunk({"role": "assistant", "content": None})
    if script.reasoning:
        yield 0, False, chunk({script.reasoning_field: script.reasoning})
    number = -1
    for number, piece in enumerate(script.pieces_after(prefix_of(body))):
        yield number, True, faulty(script, number) or chunk({"content": piece})
    if script.finish:
        yield number + 1, False, chunk({}, script.finish)
    if script.hold_open == "finish":
        return
    if body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": number + 1}
        yield number + 1, False, framed(script, {"choices": [], "usage": usage})
    yield number + 1, False, framed(script, "[DONE]")


def anthropic_events(script: Script, body: dict[str, Any]) -> Iterator[tuple[int, bool, str]]:
    """(number of the token, whether it is one, event) of a streamed message."""

    def event(kind: str, **fields: Any) -> str:
        return framed(script, {"type": kind, **fields}, kind)

    def delta(kind: str, **fields: Any) -> str:
        return event("content_block_delta", index=0, delta={"type": kind, **fields})

    yield 0, False, event("message_start", message={"usage": {"input_tokens": 7}})
    yield 0, False, event("ping")
    if script.reasoning:
        yield 0, False, delta("thinking_delta", thinking=script.reasoning)
    number = -1
    for number, piece in enumerate(script.pieces_after(prefix_of(body))):
        yield number, True, faulty(script, number) or delta("text_delta", text=piece)
    reason = {"stop": "end_turn", "length": "max_tokens"}.get(script.finish, script.finish)
    usage = {"output_tokens": number + 1}
    yield number + 1, False, event("message_delta", delta={"stop_reason": reason}, usage=usage)
    yield number + 1, False, event("message_stop")


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

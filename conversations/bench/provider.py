"""The benchmark's model server: OpenAI-compatible, scripted, paced by absolute deadlines.

    python -m conversations.bench.provider --port 9000 --shape mixed --tokens 300 --rate 50

It has no delay of its own: token i of an answer is sent i / rate seconds after the request. A
message that asks for "12 tokens" gets an answer of so many, at most those of the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys

from .texts import SHAPES, mark, tokens

MODEL = "bench"
HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


def event(choice: dict[str, object]) -> str:
    """One server-sent event of OpenAI's chat completions."""
    body = {"id": MODEL, "object": "chat.completion.chunk", "choices": [{"index": 0} | choice]}
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"


def chunk(text: str) -> bytes:
    """`text` (ASCII) as one chunk of HTTP's chunked coding."""
    return f"{len(text):x}\r\n{text}\r\n".encode("ascii")


class Answers:
    """The same answer for everybody, with each token's own numbered time mark."""

    def __init__(self, shape: str, count: int, rate: float) -> None:
        self.rate = rate
        self.events = [
            event({"delta": {"content": f"{before}MARK{after}"}, "finish_reason": None}).split(
                "MARK"
            )
            for before, after in tokens(shape, count)
        ]
        self.end = event({"delta": {}, "finish_reason": "stop"}) + "data: [DONE]\n\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close; a client that goes away ends its answer."""
        try:
            head, body = await read_request(reader)
            if head.startswith(b"GET "):
                await self.list_models(writer)
            else:
                wanted = re.search(rb"(\d+) tokens", body)
                await self.answer(writer, int(wanted[1]) if wanted else len(self.events))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def list_models(self, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()

    async def answer(self, writer: asyncio.StreamWriter, count: int) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        writer.write(HEADERS)
        for number, (before, after) in enumerate(self.events[:count]):
            wait = started + number / self.rate - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            writer.write(chunk(before + mark(number) + after))
            await writer.drain()
        writer.write(chunk(self.end) + b"0\r\n\r\n")
        await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def serve(port: int, answers: Answers) -> None:
    """Serve on the loopback address until cancelled; the port goes to standard output (0: any)."""
    server = await asyncio.start_server(answers.serve, "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--shape", choices=SHAPES, default="mixed")
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rate", type=float, default=50)
    options = parser.parse_args()
    asyncio.run(serve(options.port, Answers(options.shape, options.tokens, options.rate)))


if __name__ == "__main__":
    main()

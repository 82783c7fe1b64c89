"""A network path: forwards TCP connections, and when it is stopped, leaves them half open.

python -m conversations.lab.forwarder PORT TO_PORT
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from . import process

CHUNK_BYTES = 65_536


class Forwarder(process.Process):
    """A process that forwards a port of its own to another port of this machine."""

    def __init__(self, folder: Path, to_port: int, *, name: str) -> None:
        self.port = process.free_port()
        command = [sys.executable, "-m", __name__, str(self.port), str(to_port)]
        super().__init__(command, log=folder / f"{name}.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        return process.listens(self.port)


async def forward(port: int, to_port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await server.serve_forever()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(forward(int(sys.argv[1]), int(sys.argv[2])))

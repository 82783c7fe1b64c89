"""Connections as the kernel sees them, and sockets that handshake and never read."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

ESTABLISHED = "01"
HANDSHAKE_SECONDS = 20.0


def established(port: int) -> set[int]:
    """The clients' ports of the connections that this machine's server on `port` holds open."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(row[2].rpartition(":")[2], 16)
        for row in rows
        if row[3] == ESTABLISHED and int(row[1].rpartition(":")[2], 16) == port
    }


def deaf_socket(port: int, path: str, cookie: str, messages: Iterable[object]) -> socket.socket:
    """A WebSocket that sends these messages and reads no more than its handshake.

    Raises OSError.
    """
    deaf = socket.socket()
    try:
        # The kernel's own buffer is no part of the server, but would hide what that keeps.
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.settimeout(HANDSHAKE_SECONDS)
        deaf.connect(("127.0.0.1", port))
        host = f"127.0.0.1:{port}"
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            f"Origin: http://{host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Cookie: {cookie}",
        ]
        deaf.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (byte := deaf.recv(1)):
                raise ConnectionError("The handshake was cut off.")
            answer += byte
        status = answer.splitlines()[0]
        if b" 101 " not in status:
            raise ConnectionError(f"The handshake was answered {status!r}.")
        for message in messages:
            # RFC 6455, 5.2: a final text frame, masked by zeros, with a length of two bytes.
            body = json.dumps(message).encode().ljust(126)
            deaf.sendall(struct.pack(">BBHI", 0x81, 0xFE, len(body), 0) + body)
    except BaseException:
        deaf.close()
        raise
    return deaf

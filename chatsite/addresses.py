"""Where the server listens, and by which names it is reached there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from django.conf import settings
from django.core.management.base import CommandError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")


def refuse_taken_port(host: str, port: int) -> None:
    """Raises CommandError, in one sentence, when `host`:`port` cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandError(
            f"Cannot listen on {host}:{port} ({reason}); choose another port, for example "
            f"--port {port + 1 if port < 65535 else 8000} (make run PORT=…)."
        ) from None


def allow_own_names(host: str) -> None:
    """Answer to this machine's names when it listens to others; ALLOWED_HOSTS, if set, decides."""
    if "ALLOWED_HOSTS" in os.environ:
        return
    names = {host, socket.gethostname(), socket.getfqdn()} | own_addresses()
    settings.ALLOWED_HOSTS = sorted({*settings.ALLOWED_HOSTS, *map(url_host, names)})


def own_addresses() -> set[str]:
    """The addresses from which this machine would talk to others; no packet is sent."""
    addresses = set()
    for family, elsewhere in (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
    ):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            addresses.add(probe.getsockname()[0])
    return addresses


def url_host(host: str) -> str:
    """`host` as it stands in a URL; for "all addresses" this machine's name."""
    if host in EVERYWHERE:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host

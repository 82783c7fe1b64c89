"""`manage.py serve`: Daphne inside our own signal handling, so that a stop drains the answers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from chatsite.warmup import limit_memory_arenas, warm_up
from streaming.conf import conf

if TYPE_CHECKING:
    from daphne.server import Server

logger = logging.getLogger(__name__)

INTERRUPT_DRAIN_SECONDS = 2
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")


class Command(BaseCommand):
    help = (
        "Serves the site by Daphne. SIGTERM lets running answers finish for up to "
        "STREAMING_DRAIN_SECONDS, Ctrl-C for 2 seconds; a second signal stops at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one.")
        parser.add_argument("--migrate", action="store_true", help="Apply new migrations first.")

    def handle(self, *, host: str, port: int, migrate: bool, **options: Any) -> None:
        refuse_taken_port(host, port)
        if migrate:
            call_command("migrate", verbosity=0, skip_checks=True)
        else:
            self.check_migrations()
        # The reactor's threads open their own.
        connections.close_all()
        if host not in LOOPBACK:
            allow_own_names(host)
        limit_memory_arenas()
        server = make_server(host, port)
        warm_up()
        from twisted.internet import reactor

        # Not callWhenRunning: that calls before the asyncio loop itself runs.
        reactor.callLater(0, self.started, server)
        server.run()
        if server.abort_start:
            raise CommandError(f"{host}:{port} was taken by another program while starting.")

    def started(self, server: Server) -> None:
        """Runs in the reactor's first turn, when the site already listens."""
        Shutdown().listen()
        for host, port in server.listening_addresses:
            self.stdout.write(f"Serving on http://{url_host(host)}:{port}/ (Ctrl-C stops)")
        self.stdout.flush()


class Shutdown:
    """What the signals do: the first drains and stops, the second stops without waiting.

    Installed once the reactor runs, because starting it replaces what was installed before; the
    reactor's own handler would cancel all consumers while the answers still drain.
    """

    def __init__(self) -> None:
        self.draining: asyncio.Task[None] | None = None

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.on_signal, float(conf.DRAIN_SECONDS))
        loop.add_signal_handler(signal.SIGINT, self.on_signal, float(INTERRUPT_DRAIN_SECONDS))

    def on_signal(self, drain_seconds: float) -> None:
        from streaming.supervisor import drain

        if self.draining is None:
            self.draining = asyncio.ensure_future(drain(drain_seconds))
            self.draining.add_done_callback(self.stop)
        else:
            self.draining.cancel()

    def stop(self, draining: asyncio.Task[None]) -> None:
        from twisted.internet import reactor

        if not draining.cancelled() and (error := draining.exception()):
            logger.error("The answers could not be drained.", exc_info=error)
        reactor.stop()


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


def make_server(host: str, port: int) -> Server:
    """Daphne for our ASGI application, on uvloop where that is installed."""
    install_reactor()
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server

    from chatsite.asgi import application

    class ChatServer(Server):
        def kill_all_applications(self) -> Any:
            # Daphne would stumble over idle connections, which have no application.
            self.connections: dict[Any, Any] = {
                protocol: details
                for protocol, details in self.connections.items()
                if "application_instance" in details
            }
            return super().kill_all_applications()

    return ChatServer(
        application,
        endpoints=build_endpoint_description_strings(host=host, port=port),
        signal_handlers=False,
        # Daphne would close a socket after a day with 1000, which htmx takes for a farewell.
        websocket_timeout=-1,
        http_timeout=None,
    )


def install_reactor() -> None:
    """Put Twisted on a uvloop loop; Daphne takes its own where uvloop is not, or UVLOOP=False."""
    if "twisted.internet.reactor" in sys.modules or not settings.UVLOOP:
        return
    try:
        import uvloop
    except ImportError:
        return
    from twisted.internet import asyncioreactor

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def url_host(host: str) -> str:
    """`host` as it stands in a URL; for "all addresses" this machine's name."""
    if host in EVERYWHERE:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host

"""The ASGI servers of `manage.py serve`, each inside our own signal handling.

Both run alike: they call `started` with their addresses once they listen, drain on a signal before
they stop listening, and return when they have stopped.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from chatsite.shutdown import Shutdown
from chatsite.warmup import warm_up

Addresses = list[tuple[str, int]]
Started = Callable[[Addresses], None]

# Request line and headers together, as Twisted limits them too.
MAX_HEADER_BYTES = 16_384
# The longest message that a page may send fits four times; see `streaming.consumers`.
MAX_MESSAGE_BYTES = 1_048_576
# A closed socket whose page reads nothing is dropped after so long, with what is unsent.
CLOSE_SECONDS = 5.0
LAST_TURNS_SECONDS = 0.05
BACKLOG = 2_048
HANDSHAKE_SECONDS = 20


def serve_daphne(host: str, port: int, started: Started) -> None:
    """Run Daphne, on uvloop where that is installed."""
    install_reactor()
    from autobahn.exception import Disconnected
    from autobahn.websocket import protocol as autobahn_protocol
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.http_protocol import WebRequest
    from daphne.server import Server
    from daphne.ws_protocol import WebSocketProtocol
    from twisted.internet import reactor

    from chatsite.asgi import application

    # It pretty-prints its settings for a debug line at each connection: a third of a handshake.
    autobahn_protocol.pformat = str  # type: ignore[assignment]

    class ChatSocket(WebSocketProtocol):
        maxMessagePayloadSize: int

        def serverSend(self, content: str, binary: bool = False) -> None:
            # The limit is for what pages send; Autobahn would hold us to it as well, and a frame
            # with one very long paragraph is larger.
            limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
            try:
                super().serverSend(content, binary)
            except Disconnected as error:
                # As other servers say that a page has left.
                raise ConnectionResetError from error
            finally:
                self.maxMessagePayloadSize = limit

        def serverClose(self, code: int | None = None) -> None:
            # `sendClose` would refuse 1012 (restarting) and 1013 (come back later).
            self.sendCloseFrame(code=code or 1000)

    class ChatServer(Server):
        ports: list[Any] = []

        def listen_success(self, port: Any) -> None:
            self.ports.append(port)
            super().listen_success(port)

        def kill_all_applications(self) -> Any:
            # Daphne would stumble over idle connections, which have no application.
            self.connections: dict[Any, Any] = {
                protocol: details
                for protocol, details in self.connections.items()
                if "application_instance" in details
            }
            return super().kill_all_applications()

        def answering(self) -> list[asyncio.Future[None]]:
            """The applications that still work on a request."""
            return [
                details["application_instance"]
                for protocol, details in self.connections.items()
                if isinstance(protocol, WebRequest)
                and "application_instance" in details
                and not details["application_instance"].done()
            ]

        async def finish(self, timeout: float) -> None:
            for port in self.ports:
                port.stopListening()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    while answers := self.answering():
                        await asyncio.wait(answers)
                    # What was written last goes out with the loop's next turns.
                    await asyncio.sleep(LAST_TURNS_SECONDS)

        def stop(self) -> None:
            if reactor.running:
                super().stop()

    server = ChatServer(
        application,
        endpoints=[
            f"{endpoint}:backlog={BACKLOG}"
            for endpoint in build_endpoint_description_strings(host=host, port=port)
        ],
        # All pages come back at once after a restart: who waits in line is not hung up on.
        websocket_handshake_timeout=HANDSHAKE_SECONDS,
        websocket_connect_timeout=HANDSHAKE_SECONDS,
        signal_handlers=False,
        # Daphne would close a socket after a day with 1000, which htmx takes for a farewell.
        websocket_timeout=-1,
        http_timeout=None,
    )

    def begin() -> None:
        server.ws_factory.protocol = ChatSocket
        Shutdown(server).listen()
        started(server.listening_addresses)

    # Not callWhenRunning: that calls before the asyncio loop itself runs.
    reactor.callLater(0, begin)
    warm_up()
    server.run()
    if server.abort_start:
        raise taken(host, port)


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


def serve_uvicorn(host: str, port: int, started: Started) -> None:
    """Run uvicorn, on uvloop where that is installed."""
    try:
        import uvicorn
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    except ImportError as error:
        raise CommandError(
            f"--server uvicorn needs the packages uvicorn and websockets ({error})."
        ) from None

    from chatsite.asgi import application

    class ChatSocket(WebSocketsSansIOProtocol):
        """A socket that is really dropped: uvicorn would wait for a page that reads nothing."""

        async def send(self, message: Any) -> None:
            if message["type"] != "websocket.close":
                await super().send(message)
            elif self.writable.is_set():
                await super().send(message)
                self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
            else:
                self.transport.abort()

        def keepalive_timeout(self) -> None:
            self.transport.abort()

    class ChatServer(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # Ours come with `startup`.
            yield

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            Shutdown(self).listen()
            started([one.getsockname()[:2] for each in self.servers for one in each.sockets])

        async def finish(self, timeout: float) -> None:
            # uvicorn itself stops listening and waits for requests, for a whole number of seconds.
            self.config.timeout_graceful_shutdown = int(timeout)

        def stop(self) -> None:
            # Not asked to finish: this is the second signal.
            self.force_exit = self.config.timeout_graceful_shutdown is None
            self.should_exit = True

    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="auto" if settings.UVLOOP else "asyncio",
        http="h11",
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        backlog=BACKLOG,
        ws=ChatSocket,
        ws_max_size=MAX_MESSAGE_BYTES,
        # Costs more CPU than all the rest of a frame's way; the proxy may compress pages.
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Who asks is the business of the proxy and of Django's settings, as under Daphne.
        proxy_headers=False,
    )
    warm_up()
    try:
        ChatServer(config).run()
    except SystemExit:
        raise taken(host, port) from None


def taken(host: str, port: int) -> CommandError:
    return CommandError(f"{host}:{port} was taken by another program while starting.")


SERVERS = {"daphne": serve_daphne, "uvicorn": serve_uvicorn}

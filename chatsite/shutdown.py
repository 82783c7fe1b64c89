"""What the signals do to a server: the first drains and stops, the second stops at once."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Protocol

from django.conf import settings

from chatsite import health
from streaming.conf import conf
from streaming.supervisor import drain

logger = logging.getLogger(__name__)

INTERRUPT_DRAIN_SECONDS = 2
# Requests that are on their way get so long to be answered, after the last answer was drained.
FINISH_SECONDS = 2


class Stoppable(Protocol):
    """A server, as the signals see it."""

    async def finish(self, timeout: float) -> None:
        """Listen no more, and wait until the requests on their way are answered."""
        ...

    def stop(self) -> None:
        """End now."""
        ...


class Shutdown:
    """Drains while the server still listens: forms are answered until the end.

    Installed once the server runs, because starting it replaces what was installed before.
    """

    def __init__(self, server: Stoppable) -> None:
        self.server = server
        self.draining: asyncio.Task[None] | None = None

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(
            signal.SIGTERM,
            self.on_signal,
            float(conf.DRAIN_SECONDS),
            settings.SHUTDOWN_NOTICE_SECONDS,
        )
        loop.add_signal_handler(signal.SIGINT, self.on_signal, float(INTERRUPT_DRAIN_SECONDS), 0)

    def on_signal(self, drain_seconds: float, notice_seconds: int) -> None:
        if self.draining is None:
            self.draining = asyncio.ensure_future(self.drain(drain_seconds, notice_seconds))
            self.draining.add_done_callback(self.stop)
        else:
            self.draining.cancel()

    async def drain(self, seconds: float, notice_seconds: int) -> None:
        # First out of the proxy's turn: a form that found nobody listening would fail.
        health.leave()
        await asyncio.sleep(notice_seconds)
        try:
            await drain(seconds)
        except Exception:
            # The server stops all the same; the sweep of another finds what was left.
            logger.exception("The answers could not be drained.")
        await self.server.finish(FINISH_SECONDS)

    def stop(self, draining: asyncio.Task[None]) -> None:
        self.server.stop()

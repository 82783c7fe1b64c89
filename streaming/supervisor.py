"""What a server or worker process does for its streams: runs, sweeps, drains.

Embedded, the supervisor runs what is requested here, owners in turn. With procrastinate a worker's
jobs run streams by it, and in every process its sweep only dispatches jobs anew (`dispatch`). The
sweep compares no clocks: it takes a stream over when it has seen its (epoch, beat) unchanged for
ten seconds of its own monotonic time, over rounds that could all write.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from . import claims, dispatch
from .conf import conf
from .exceptions import log_failure
from .executors import run_generator
from .hub import get_hub
from .models import Stream
from .runs import Runs, new_task
from .signals import runner_starting

logger = logging.getLogger(__name__)

# A lost stream is taken up within this time; a runner whose rounds fail for longer is down.
SWEEP_LATE_SECONDS = 15.0


class Supervisor:
    """One for a process; lives on its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.runs = Runs()
        # Requested streams by owner: taken in turn, so that no owner holds up the others.
        self._waiting: OrderedDict[object, deque[UUID]] = OrderedDict()
        # When a round of the sweep last succeeded.
        self._swept_at = self._loop.time()
        self._sweeper = claims.Sweeper()
        self._sweeping = new_task(self._loop, self._sweep())

    @property
    def is_draining(self) -> bool:
        return self.runs.draining

    # --- Requests, where this process runs what it is asked for

    def request_threadsafe(self, stream_id: UUID, owner_id: object) -> None:
        self._loop.call_soon_threadsafe(self.request, stream_id, owner_id)

    def request(self, stream_id: UUID, owner_id: object) -> None:
        """Run a pending stream as soon as there is room."""
        if self.is_draining:
            return
        self._waiting.setdefault(owner_id, deque()).append(stream_id)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._has_room:
            owner_id, ids = self._waiting.popitem(last=False)
            stream_id = ids.popleft()
            if ids:
                self._waiting[owner_id] = ids
            self._claim(claims.claim_pending, stream_id)

    @property
    def _has_room(self) -> bool:
        return self.runs.tasks < conf.MAX_CONCURRENT

    def _claim(self, claim: Callable[..., Stream | None], *args: object) -> None:
        self.runs.claim(claim, *args).add_done_callback(lambda task: self._start_waiting())

    # --- Sweep

    async def _sweep(self) -> None:
        while True:
            await self.sweep_once()
            await asyncio.sleep(conf.SWEEP_SECONDS)

    async def sweep_once(self) -> None:
        """One round: see to what waits or is abandoned, retry hooks."""
        try:
            found = await run_generator(self._sweeper.round, self.runs.ids())
            self._swept_at = self._loop.time()
            if conf.RUNNER == "procrastinate":
                await run_generator(dispatch.redispatch, found)
                return
        except Exception as error:
            # Whatever it was, the rounds go on: without them no lost stream would ever end.
            self._sweeper.forget()
            log_failure(logger, error, "A round of the sweep failed")
            return
        for stream_id, owner_id in found.startable:
            if not any(stream_id in ids for ids in self._waiting.values()):
                self.request(stream_id, owner_id)
        for stream_id, epoch, beat in found.abandoned:
            # Also where all places are taken: somebody is looking at half an answer. Not without
            # end: of many dead processes' streams the sweeps of others take their share.
            if self.runs.tasks < 2 * conf.MAX_CONCURRENT:
                self._claim(claims.claim_abandoned, stream_id, epoch, beat)

    # --- Shutdown

    async def drain(self, timeout: float) -> None:
        """Start nothing more, and see running answers off; see `Runs.drain`."""
        self.runs.draining = True
        self._waiting.clear()
        self._sweeping.cancel()
        await self.runs.drain(timeout)

    def state(self) -> str:
        """`ok`, `draining`, or `down` when the sweep has failed for too long."""
        if self.is_draining:
            return "draining"
        return "ok" if self._loop.time() - self._swept_at < SWEEP_LATE_SECONDS else "down"


_supervisor: Supervisor | None = None


def running_supervisor() -> Supervisor | None:
    """The supervisor of this process, from any thread; None where none runs."""
    if _supervisor is None or _supervisor._loop.is_closed() or _supervisor.is_draining:
        return None
    return _supervisor


def of_this_process() -> Supervisor:
    """The supervisor that was started here, draining or not."""
    assert _supervisor is not None
    return _supervisor


async def next_tick() -> None:
    """Wait until this process is about to commit and push what its generators have yielded.

    A generator that is fed faster than the ticks come (`STREAMING_TICK_SECONDS`) may wait for the
    next one before it looks at its source again: the text is shown as soon as it would be
    otherwise, for one wake-up instead of one for each piece. Returns at once without a supervisor.
    """
    if _supervisor is not None and _supervisor._loop is asyncio.get_running_loop():
        await _supervisor.runs.journal.turn()


async def start() -> None:
    """Start this process's hub and, unless it only serves readers, its supervisor. Idempotent."""
    global _supervisor
    get_hub()
    if conf.RUNNER != "off" and running_supervisor() is None:
        runner_starting.send_robust(Supervisor)
        _supervisor = Supervisor()


def runner_state() -> str:
    """How the generators of this process fare: `ok`, `down`, `draining`, or `none` by settings."""
    if conf.RUNNER != "embedded":
        return "none"
    return "down" if _supervisor is None else _supervisor.state()


async def drain(timeout: float) -> None:
    """Send all pages on, let answers end and say so next door; see `Runs.drain`.

    A page that finds no other process comes back here, sees its answer end, and is sent on again.
    HTTP readers that wait for text are answered last.
    """
    from .consumers import close_all_sockets, see_ends_off

    await close_all_sockets()
    if _supervisor is not None and not _supervisor._loop.is_closed():
        await _supervisor.drain(timeout)
    await get_hub().doorbell.settle()
    await see_ends_off()
    await close_all_sockets()
    get_hub().let_readers_go()


def with_supervisor(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap an ASGI application so that the supervisor starts when the server does.

    By lifespan where the server speaks it, under Daphne once its reactor runs, at the latest with
    the first connection.
    """
    _start_with_twisted()

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if _supervisor is None:
            await start()
        await application(scope, receive, send)

    return wrapped


def _start_with_twisted() -> None:
    import sys

    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        reactor.callWhenRunning(
            lambda: asyncio.ensure_future(start(), loop=asyncio.get_event_loop())
        )


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await drain(float(conf.DRAIN_SECONDS))
            await send({"type": "lifespan.shutdown.complete"})
            return

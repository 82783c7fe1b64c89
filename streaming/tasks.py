"""The job that runs a stream, and what keeps its worker alive; imported by procrastinate alone.

A worker is `manage.py procrastinate worker`. Its supervisor starts when it begins to listen for
jobs. When it stops listening, because it is asked to end, the answers drain while it waits for
their jobs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
from procrastinate import App
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from procrastinate.psycopg_connector import PsycopgConnector

from . import claims, supervisor
from .conf import conf
from .dispatch import QUEUE, TASK

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
# The worker's own connections, beside those of Django's pool: its queries are few and short.
POOL: dict[str, Any] = {"min_size": 1, "max_size": 4, "timeout": 1.0, "reconnect_timeout": 1.0}
# A job that was left in `doing` by a worker that gave no sign for so long is nobody's.
STALLED_SECONDS = 60


@app.task(name=TASK, queue=QUEUE)
async def run_stream(stream_id: str, seen: list[int] | None = None) -> None:
    """Claim the stream, as pending or as seen at (epoch, beat), and run it to its end."""
    claim = claims.claim_abandoned if seen else claims.claim_pending
    task = supervisor.of_this_process().runs.claim(claim, UUID(stream_id), *(seen or ()))
    # Not by its own cancellation: the drain decides how a run ends.
    await asyncio.wait([task])


def prepare(made: App) -> None:
    """Give procrastinate's app a worker that outlives its database (PROCRASTINATE_ON_APP_READY)."""
    made.connector = made.job_manager.connector = Connector()


class Connector(DjangoConnector):
    """Django's connection for who defers, a patient one for the worker."""

    def get_worker_connector(self) -> PatientConnector:
        return PatientConnector(kwargs=connector_params(self.alias), **POOL)


class PatientConnector(PsycopgConnector):
    """Waits while the database is away; procrastinate's own would end the worker and its runs.

    A query whose outcome was lost with its connection is sent again. That is harmless here: a job
    that was fetched twice is claimed once, and one fetched for nobody is dispatched anew.
    """

    _draining: asyncio.Task[None] | None = None

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        await patiently(super().execute_query_async, query, **arguments)

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await patiently(super().execute_query_one_async, query, **arguments)

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await patiently(super().execute_query_all_async, query, **arguments)

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Listen for jobs until the worker is to stop; then the answers drain."""
        await supervisor.start()
        logger.info("Ready for answers")
        try:
            await remove_stalled_jobs()
            await patiently(super().listen_notify, on_notification, channels)
        finally:
            # Not here: the worker waits a second for its listener, but long for its jobs.
            self._draining = asyncio.create_task(supervisor.drain(float(conf.DRAIN_SECONDS)))

    async def close_async(self) -> None:
        """The worker's last step: what is left to commit and to tell goes out first."""
        if self._draining is not None:
            await self._draining
        await super().close_async()


async def patiently(function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """Call until the database answers."""
    while True:
        try:
            return await function(*args, **kwargs)
        except ConnectorException as error:
            if not isinstance(error.__cause__, psycopg.OperationalError):
                raise
            logger.warning("The worker waits for the database: %s", error.__cause__)
            await asyncio.sleep(RETRY_SECONDS)


async def remove_stalled_jobs() -> None:
    """Delete what killed workers left in `doing`; their streams are the sweeps' business."""
    jobs = app.job_manager
    for job in await jobs.get_stalled_jobs(
        task_name=TASK, queue=QUEUE, seconds_since_heartbeat=STALLED_SECONDS
    ):
        # Another worker that starts now may have been first.
        with suppress(ConnectorException):
            await jobs.finish_job(job, Status.ABORTED, delete_job=True)

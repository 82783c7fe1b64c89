"""The job that runs a stream, and what keeps its worker alive; imported by procrastinate alone.

A worker is `manage.py procrastinate worker`. While it listens for jobs its supervisor lives; when
it stops listening, because it is asked to end, the answers drain before it waits for their jobs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
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
POOL: dict[str, Any] = {"min_size": 1, "max_size": 4, "timeout": 5.0, "reconnect_timeout": 5.0}
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

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        await patiently(super().execute_query_async, query, **arguments)

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await patiently(super().execute_query_one_async, query, **arguments)

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await patiently(super().execute_query_all_async, query, **arguments)

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Listen for jobs until the worker stops; the supervisor lives as long."""
        async with supervised():
            await remove_stalled_jobs()
            await patiently(super().listen_notify, on_notification, channels)


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


@asynccontextmanager
async def supervised() -> AsyncIterator[None]:
    """The worker's supervisor, drained at the end."""
    await supervisor.start()
    try:
        yield
    finally:
        await supervisor.drain(float(conf.DRAIN_SECONDS))


async def remove_stalled_jobs() -> None:
    """Delete what killed workers left in `doing`; their streams are the sweeps' business."""
    jobs = app.job_manager
    for job in await jobs.get_stalled_jobs(
        task_name=TASK, queue=QUEUE, seconds_since_heartbeat=STALLED_SECONDS
    ):
        await jobs.finish_job(job, Status.ABORTED, delete_job=True)

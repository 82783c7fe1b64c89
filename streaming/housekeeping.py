"""Chores that each server process does now and then: what may be late but must not be forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from django.db import Error as DatabaseError

from .conf import conf
from .exceptions import log_failure
from .executors import run_chore

logger = logging.getLogger(__name__)

_chores: list[Callable[[], object]] = []


def chore(function: Callable[[], object]) -> None:
    """Have `function` called every few seconds by each server process.

    Sync; several processes may call it at once, and one may die within it: it goes by what the
    database says. It takes a second at most, and goes on the next time.
    """
    _chores.append(function)


async def keep_house() -> None:
    """Do the chores for ever; one that fails is tried again in the next round."""
    while True:
        await asyncio.sleep(conf.SWEEP_SECONDS)
        for function in _chores:
            try:
                await run_chore(function)
            except DatabaseError as error:
                logger.warning("A chore waits for the database: %s", type(error).__name__)
            except Exception as error:
                log_failure(logger, error, "A chore failed")

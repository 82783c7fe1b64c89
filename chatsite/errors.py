"""The answer when something failed: 503 while the database is away, 500 for what is our fault."""

from __future__ import annotations

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from redis.exceptions import RedisError

RETRY_AFTER_SECONDS = 5
AWAY = (OperationalError, InterfaceError)


class OneLineWhileAway(logging.Filter):
    """Keeps the stack traces of a database or Redis that is away out of the log.

    Each request has one, and each second.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (*AWAY, RedisError)):
            record.exc_info = None
            record.msg, record.args = f"{record.getMessage()} ({type(error).__name__})", ()
        return True


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`, called while the exception is being handled. No query."""
    if isinstance(sys.exception(), AWAY):
        # A part of a page stays as it is; the page's script says why.
        return HttpResponse(
            "" if "HX-Request" in request.headers else render_to_string("503.html"),
            status=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS), "HX-Reswap": "none"},
        )
    return HttpResponse(render_to_string("500.html"), status=500)

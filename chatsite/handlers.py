"""How HTTP reaches Django: static files without it, everything else in one thread a request."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve
from servestatic import ServeStaticASGI

from streaming.executors import release_connections


class OneThreadHandler(ASGIHandler):
    """Runs all middleware and the view of a request in the one thread that the request has.

    Django's own ASGI handler runs Django's own middleware by two hops to that thread for each of
    them, which is a third of the cost of a small page. Async views run as they would, on the event
    loop; their request's thread waits.

    Only a few requests run at once, the others wait in order: a hundred threads that share Python's
    one lock would all be late together. The few threads stay and keep their SQLite connection,
    which a page would otherwise open and close; a pooled PostgreSQL connection goes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places = asyncio.Semaphore(settings.MAX_CONCURRENT_REQUESTS)
        self._threads = [
            ThreadPoolExecutor(1, thread_name_prefix="request")
            for _ in range(settings.MAX_CONCURRENT_REQUESTS)
        ]

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        if _waits_for_text(request):
            return await sync_to_async(self.get_response, thread_sensitive=True)(request)
        async with self._places:
            thread = self._threads.pop()
            try:
                async with ThreadSensitiveContext(executor=thread):
                    return await sync_to_async(self._respond, thread_sensitive=True)(request)
            finally:
                self._threads.append(thread)

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self.get_response(request)
        finally:
            release_connections()


def _waits_for_text(request: HttpRequest) -> bool:
    """Whether the view is async: a live reader, which may wait long and works little."""
    try:
        return iscoroutinefunction(resolve(request.path_info).func)
    except Resolver404:
        return False


def with_static_files(application: Any) -> Any:
    """Serve what `collectstatic` gathered, or in DEBUG what the finders find, before Django."""
    if settings.DEBUG:
        return ASGIStaticFilesHandler(application)
    return ServeStaticASGI(
        application,
        root=settings.STATIC_ROOT,
        prefix=settings.STATIC_URL,
        allow_all_origins=False,
        add_headers_function=_add_headers,
    )


def _add_headers(headers: Any, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"

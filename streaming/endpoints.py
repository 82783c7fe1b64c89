"""What the machine endpoints share: methods, CORS, refusals, and for whom a request speaks.

A request speaks for the user of its Bearer token (see `access`), and then cookies and CSRF do not
matter, or else for the session's user. A refusal never tells whether a stream exists: who is nobody
gets 401, and who is somebody gets the same 404 for a foreign, an unknown and a malformed id.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from . import access
from .conf import conf
from .models import Stream

TEXT = "text/plain; charset=utf-8"
PREFLIGHT_SECONDS = 86_400
READ_HEADERS = "Stream-Next-Offset, Stream-Up-To-Date, Stream-Closed, Stream-Status, " + (
    "Stream-End-Reason, Stream-Sha256, Stream-Cursor, ETag"
)

AsyncView = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Refused(Exception):
    """Ends a view early with an answer of one sentence."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def endpoint(*methods: str, allow_headers: str) -> Callable[[AsyncView], AsyncView]:
    """What both machine endpoints share: methods, CORS without credentials, refusals, headers.

    CSRF is checked by `identify`, since a Bearer token needs none.
    """

    def decorate(view: AsyncView) -> AsyncView:
        @csrf_exempt
        @functools.wraps(view)
        async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method == "OPTIONS":
                response: HttpResponseBase = preflight(request, methods, allow_headers)
            elif request.method not in methods:
                response = HttpResponseNotAllowed([*methods, "OPTIONS"])
            else:
                response = await answer(view, request, *args, **kwargs)
            patch_vary_headers(response, ["Origin"])
            if is_allowed_origin(request):
                response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
                response.headers.setdefault("Access-Control-Expose-Headers", READ_HEADERS)
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
            return response

        return wrapped

    return decorate


async def answer(view: AsyncView, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
    """The view's answer, or the sentence with which it refuses."""
    try:
        return await view(request, *args, **kwargs)
    except Refused as refused:
        return HttpResponse(
            f"{refused.sentence}\n",
            status=refused.status,
            headers={"Content-Type": TEXT, "Cache-Control": "no-store", **refused.headers},
        )
    except (OperationalError, InterfaceError):
        return HttpResponse(
            "The database is busy; try again.\n",
            status=503,
            headers={"Content-Type": TEXT, "Cache-Control": "no-store", "Retry-After": "1"},
        )


def preflight(request: HttpRequest, methods: tuple[str, ...], allow_headers: str) -> HttpResponse:
    """The answer to OPTIONS: what a cross-origin script may do, or an empty 200."""
    response = HttpResponse(
        headers={"Content-Type": TEXT, "Allow": ", ".join([*methods, "OPTIONS"])}
    )
    asks = {"Access-Control-Request-Method", "Access-Control-Request-Headers"}
    if is_allowed_origin(request) and all(name in request.headers for name in asks):
        response.headers["Access-Control-Allow-Methods"] = ", ".join(methods)
        response.headers["Access-Control-Allow-Headers"] = allow_headers
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    return response


def is_allowed_origin(request: HttpRequest) -> bool:
    return request.headers.get("Origin") in conf.CORS_ORIGINS


# --- Who asks, for what


def find_stream(request: HttpRequest, value: object) -> Stream:
    """The stream of that id if whom the request speaks for may read it; raises Refused. Queries."""
    stream_id = parse_id(value)
    user = identify(request, stream_id)
    stream = Stream.objects.filter(pk=stream_id).first() if stream_id else None
    if stream is not None and access.may_read(user, stream):
        return stream
    if not user.is_authenticated:
        raise Refused(401, "Sign in, or send a token.", WWW_Authenticate="Bearer")
    raise Refused(404, "No such stream.")


def identify(request: HttpRequest, stream_id: UUID | None) -> Any:
    """The user for whom the request speaks, maybe anonymous; raises Refused. Queries.

    A token that is not valid for this stream speaks for nobody, whatever cookies come with it.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        named = access.user_of_token(token.strip(), stream_id) if stream_id else None
        return named or AnonymousUser()
    user = getattr(request, "user", AnonymousUser())
    # Without a user the cookies carry no authority that another site could borrow.
    if user.is_authenticated and CsrfCheck(_unused).refuses(request):
        raise Refused(403, "The CSRF token is missing or wrong.")
    return user


class CsrfCheck(CsrfViewMiddleware):
    """Django's own check, for a view that is exempt from the middleware's."""

    def refuses(self, request: HttpRequest) -> bool:
        self.process_request(request)
        return self.process_view(request, _unused, (), {}) is not None

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _unused(request: HttpRequest) -> HttpResponseBase:
    raise NotImplementedError


def parse_id(value: object) -> UUID | None:
    """The UUID that `value` writes in its usual form, else None."""
    try:
        parsed = UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if str(parsed) == value else None

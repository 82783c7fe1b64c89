"""What every request has: a strict Content-Security-Policy, no shared caching, its time zone."""

from __future__ import annotations

import secrets
import zoneinfo
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.middleware.gzip import GZipMiddleware
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.cache import patch_vary_headers

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class HeadersMiddleware:
    """Adds headers without a thread hop, whether the rest of the chain is sync or async."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):
        self.prepare(request)
        if iscoroutinefunction(self):
            return self.acall(request)
        return self.finish(request, self.get_response(request))  # type: ignore[arg-type]

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        return self.finish(request, await self.get_response(request))  # type: ignore[misc]

    def prepare(self, request: HttpRequest) -> None:
        """What the views need to find on the request."""

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Put the headers on `response` and return it."""
        raise NotImplementedError


class ContentSecurityPolicyMiddleware(HeadersMiddleware):
    """Sets the policy; `request.csp_nonce` is the nonce of this answer, as Django 6 names it.

    The admin's own templates know no nonce: its pages may load scripts of this origin instead.
    """

    def prepare(self, request: HttpRequest) -> None:
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined]

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if settings.DEBUG and response.status_code in (
            HTTPStatus.NOT_FOUND,
            HTTPStatus.INTERNAL_SERVER_ERROR,
        ):
            # Django's debug pages live on inline styles and scripts.
            return response
        match = request.resolver_match
        if match and "admin" in match.app_names:
            scripts = "'self'"
        else:
            scripts = f"'nonce-{request.csp_nonce}' 'strict-dynamic'"  # type: ignore[attr-defined]
        response.headers.setdefault("Content-Security-Policy", POLICY.format(scripts=scripts))
        return response


class CompressedPagesMiddleware(GZipMiddleware):
    """Compresses pages and their fragments, with Django's random padding against BREACH.

    Streams are left alone: their readers wait for each piece.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.streaming or not response.headers.get("Content-Type", "").startswith(
            "text/html"
        ):
            return response
        return super().process_response(request, response)


class Utf8Middleware(HeadersMiddleware):
    """Refuses bodies in other encodings; Python knows some that raise, or make half characters."""

    def prepare(self, request: HttpRequest) -> None:
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() != "utf-8":
            raise BadRequest("The body must be UTF-8.")

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response


class FormsOnlyMiddleware(HeadersMiddleware):
    """Gives a page to who opens the address of a form: after an error a browser may show one."""

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        is_page = request.method == "GET" and "HX-Request" not in request.headers
        if isinstance(response, HttpResponseNotAllowed) and is_page:
            response.content = render_to_string("405.html")
        return response


class PrivatePagesMiddleware(HeadersMiddleware):
    """Keeps people's pages out of every cache, unless the view has said something else.

    Static files are answered before this middleware and keep their long life.
    """

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Cache-Control", "private, no-store")
        patch_vary_headers(response, ["Cookie"])
        return response


class TimeZoneMiddleware(HeadersMiddleware):
    """Days and times are those of the browser, which its script tells by a cookie.

    Without one, or with a name that is no time zone, they are the site's.
    """

    def prepare(self, request: HttpRequest) -> None:
        name = request.COOKIES.get("timezone", "")
        if name in _known_zones():
            timezone.activate(zoneinfo.ZoneInfo(name))
        else:
            timezone.deactivate()

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # The thread's next work has no browser, or another.
        timezone.deactivate()
        return response


@cache
def _known_zones() -> set[str]:
    """Names of the time zones there are; looked up once, because that reads files."""
    return zoneinfo.available_timezones()


def csp_nonce(request: HttpRequest) -> dict[str, str]:
    """Context processor: the nonce for `<script nonce>`; django-htmx reads it too."""
    return {"csp_nonce": getattr(request, "csp_nonce", "")}

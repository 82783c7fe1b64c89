"""A strict Content-Security-Policy with a nonce, under the names that Django 6 uses."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class ContentSecurityPolicy:
    """Sets the header on every answer; `request.csp_nonce` is the nonce of this answer."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):  # type: ignore[no-untyped-def]
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined]
        if iscoroutinefunction(self):
            return self.acall(request)
        return self.finish(request, self.get_response(request))  # type: ignore[arg-type]

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        return self.finish(request, await self.get_response(request))  # type: ignore[misc]

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        policy = POLICY.format(nonce=request.csp_nonce)  # type: ignore[attr-defined]
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


content_security_policy = ContentSecurityPolicy


def csp_nonce(request: HttpRequest) -> dict[str, str]:
    """Context processor: the nonce for `<script nonce>`; django-htmx reads it too."""
    return {"csp_nonce": getattr(request, "csp_nonce", "")}

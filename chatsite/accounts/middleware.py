"""What pages owe to who visits them; both stand after AuthenticationMiddleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation

from .guests import ensure_guest_cookie


class GuestCookie:
    """Sets the guest cookie on HTML answers to visitors who are not signed in."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):
        if iscoroutinefunction(self):
            return self.acall(request)
        response = self.get_response(request)
        if is_html(response) and not request.user.is_authenticated:
            ensure_guest_cookie(request, response)
        return response

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        if is_html(response) and not (await request.auser()).is_authenticated:
            ensure_guest_cookie(request, response)
        return response


guest_cookie = GuestCookie


class ChosenLanguage:
    """Has pages speak the language that a person chose; else LocaleMiddleware's, the browser's."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        # Async views read streams, which have no words; who has no session is nobody.
        if iscoroutinefunction(view) or settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return
        language = getattr(request.user, "language", "")
        if language in dict(settings.LANGUAGES):
            translation.activate(language)
            request.LANGUAGE_CODE = language


chosen_language = ChosenLanguage


def is_html(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith("text/html")

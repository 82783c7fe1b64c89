"""Who opened the socket: same origin only, and the session's user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host


class SameOrigin:
    """Refuse a WebSocket whose Origin is not the request's own scheme, host and port.

    `CSRF_TRUSTED_ORIGINS` may name further ones; a missing or null Origin is refused.
    """

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if is_allowed_origin(scope):
            await self.application(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 4403})


def is_allowed_origin(scope: dict[str, Any]) -> bool:
    """Whether the handshake comes from a page of this site."""
    origin = _header(scope, b"origin")
    host = _header(scope, b"host")
    if origin is None or host is None:
        return False
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    allowed_hosts = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed_hosts:
        allowed_hosts = [".localhost", "127.0.0.1", "[::1]"]
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, allowed_hosts):
        return False
    parts = urlsplit(origin)
    return parts.netloc == host and parts.scheme == ("https" if _is_secure(scope) else "http")


def _is_secure(scope: dict[str, Any]) -> bool:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        header = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        if (given := _header(scope, header)) is not None:
            return given.split(",")[0].strip() == value
    return scope.get("scheme") in ("wss", "https")


def session_key(scope: dict[str, Any]) -> str | None:
    """The session's key from the handshake's cookies."""
    try:
        cookies = SimpleCookie(_header(scope, b"cookie") or "")
    except CookieError:
        return None
    morsel = cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel else None


def user_of_session(key: str | None) -> Any:
    """The user whose session has this key, or the anonymous one. Queries.

    Django's own check: a password change or sign-out elsewhere makes the session worthless.
    """
    engine = import_module(settings.SESSION_ENGINE)
    request = HttpRequest()
    request.session = engine.SessionStore(key)
    user = get_user(request)
    return user


def _header(scope: dict[str, Any], name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin1") if len(values) == 1 else None

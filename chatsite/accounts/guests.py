"""Guests: people who signed in anonymously, and the cookie that keeps their parallel posts one."""

from __future__ import annotations

import hashlib
import re
import secrets

from django.conf import settings
from django.contrib.auth import login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from .models import Theme, User

COOKIE = "guest"
COOKIE_AGE_SECONDS = 365 * 86_400
# What `secrets.token_urlsafe(32)` gives; anything shorter is not ours and would be guessable.
COOKIE_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


def sign_in_guest(request: HttpRequest) -> User:
    """Sign the visitor in as the guest of this browser's cookie; return who is signed in.

    Somebody who is signed in already stays who they are. Ten parallel first posts of one page
    carry the same cookie and become one guest, each with a session of its own. Raises
    PermissionDenied when an operator blocked this guest.
    """
    if request.user.is_authenticated:
        return request.user
    user = User.objects.guest_of(guest_key(request))
    if not user.is_active:
        raise PermissionDenied("This guest was blocked.")
    login(request, user)
    keep_looks(request, user)
    return user


def keep_looks(request: HttpRequest, user: User) -> None:
    """Give a new person the theme and language that they chose as a visitor, if they chose none."""
    theme = request.COOKIES.get(settings.THEME_COOKIE_NAME)
    language = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME)
    if not user.theme and theme in Theme.values:
        user.theme = theme
    if not user.language and language in dict(settings.LANGUAGES):
        user.language = language
    user.save(update_fields=["theme", "language"])


def guest_key(request: HttpRequest) -> str | None:
    """The key under which this browser's guest is stored; None without a cookie of ours.

    The database holds a hash: who reads a backup cannot sign in with it.
    """
    cookie = request.COOKIES.get(COOKIE, "")
    if not COOKIE_FORM.fullmatch(cookie):
        return None
    return hashlib.sha256(cookie.encode()).hexdigest()


def ensure_guest_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Give this browser a guest cookie unless it, or the response, has one; makes no row."""
    if guest_key(request) is None and COOKIE not in response.cookies:
        renew_guest_cookie(response)


def renew_guest_cookie(response: HttpResponseBase) -> None:
    """Give this browser a new guest cookie: its next guest is somebody else."""
    keep_cookie(response, COOKIE, secrets.token_urlsafe(32))


def keep_cookie(response: HttpResponseBase, name: str, value: str) -> None:
    """Have the browser keep a cookie of ours for a year."""
    response.set_cookie(
        name,
        value,
        max_age=COOKIE_AGE_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )

"""What every view asks of a request: who it is, whose a row is, and whether a form may act."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _
from django_htmx.middleware import HtmxDetails

from streaming.exceptions import is_storage_failure

from .exceptions import Refused
from .forms import SpokenForm
from .models import Conversation, Message

RETRY_AFTER_SECONDS = 2

T = TypeVar("T")
R = TypeVar("R", bound=HttpResponseBase)


class HtmxRequest(HttpRequest):
    """A request as the middlewares leave it."""

    user: Any
    htmx: HtmxDetails


def private(view: Callable[..., R]) -> Callable[..., R]:
    """No cache keeps what the view answers; it differs by person and between page and fragment.

    A page of somebody who was signed out meanwhile gets 401, which its script puts into words.
    """

    @wraps(view)
    def answer(request: HtmxRequest, *args: Any, **kwargs: Any) -> R:
        if request.htmx and request.headers.get("X-Person", "") not in ("", str(request.user.pk)):
            response = cast("R", HttpResponse(status=401))
        else:
            response = view(request, *args, **kwargs)
        patch_cache_control(response, private=True, no_store=True)
        patch_vary_headers(response, ["Cookie", "HX-Request"])
        return response

    return answer


def signed_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A visitor is asked to sign in, and led to the settings if it was a form that they sent."""

    @wraps(view)
    def answer(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        is_page = request.method in ("GET", "HEAD")
        settings_page = reverse("conversations:settings")
        return redirect_to_login(request.get_full_path() if is_page else settings_page)

    return answer


def conversation_of(request: HtmxRequest, pk: UUID) -> Conversation:
    """The look-up through the user is the permission: a stranger's 404 is that of a wrong id."""
    conversations = Conversation.objects.owned_by(request.user)
    return get_object_or_404(conversations.select_related("leaf__stream"), pk=pk)


def message_of(request: HtmxRequest, pk: int, **having: Any) -> Message:
    """A message of the person who asks; anybody else's is 404."""
    messages = Message.objects.filter(
        conversation__owner=request.user.pk, conversation__deleted_at__isnull=True, **having
    )
    return get_object_or_404(
        messages.select_related("conversation__owner", "stream", "parent"), pk=pk
    )


def submit(form: SpokenForm, act: Callable[[], T]) -> tuple[T | None, int]:
    """The result of `act` for a valid form, else None; and the status of the answer.

    A refusal becomes an error of the form, and so does a database that stays locked or is full.
    """
    if not form.is_valid():
        return None, 422
    try:
        return act(), 200
    except Refused as refusal:
        form.add_error(None, str(refusal))
        return None, 422
    except OperationalError as error:
        if is_storage_failure(error):
            sentence = _(
                "The server cannot save anything right now. Your text is still here: try again."
            )
        elif "locked" in str(error):
            sentence = _("The server is busy. Your text is still here: try again.")
        else:
            raise
        form.add_error(None, sentence)
        return None, 503


def refused(response: HttpResponse, status: int) -> HttpResponse:
    """The answer to a form that did nothing."""
    response.status_code = status
    if status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response

"""What a provider's refusal means, in our codes and in sentences for people."""

from __future__ import annotations

import email.utils
import json
import time
from typing import Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from .base import ProviderError

# Statuses worth another try, as long as no text has arrived.
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 529})

# What providers write when a prompt does not fit: OpenAI, vLLM, Anthropic, llama.cpp.
_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "prompt is too long",
    "exceed_context_size",
    "available context size",
    "context window",
    "request_too_large",
)
_NO_CREDIT = ("insufficient_quota", "credit balance", "exceeded your current quota")


def cut() -> ProviderError:
    return ProviderError("cut", _("The connection to the provider was lost."))


def unreadable() -> ProviderError:
    return ProviderError("provider", _("The provider sent an answer that cannot be read."))


def error_of(
    body: Any, status: int | None = None, retry_after: float | None = None
) -> ProviderError:
    """The error that a provider reports by `status` and `body`, or inside a stream (no status).

    `body` is the parsed JSON, or text. Nothing of it is copied: it may hold keys or people's text.
    """
    said = _words(body)
    retry = status in RETRIED_STATUSES
    in_stream = status in (None, 200)
    if status == 413 or any(mark in said for mark in _TOO_LONG):
        return ProviderError("too_long", _("This chat is too long for this model."))
    if status == 402 or any(mark in said for mark in _NO_CREDIT):
        return ProviderError(
            "rate_limit", _("The provider refused the request: no credit is left.")
        )
    if status == 429 or (in_stream and "rate_limit" in said):
        sentence = _("The provider refused: rate limit, try again later.")
        if retry_after is not None:
            sentence = format_lazy(
                _("The provider refused: rate limit, try again in {seconds} s."),
                seconds=f"{retry_after:.0f}",
            )
        return ProviderError("rate_limit", sentence, retry_after=retry_after, retry=retry)
    if status in (401, 403) or (in_stream and "authentication_error" in said):
        return ProviderError("refused", _("The provider refused the key."))
    if status == 404:
        return ProviderError("no_model", _("The provider does not know this model."))
    if status == 529 or "overloaded" in said:
        sentence = _("The provider is overloaded.")
    elif status is None or in_stream:
        sentence = _("The provider reported an error.")
    elif status >= 500:
        sentence = format_lazy(
            _("The provider returned an error (status {status})."), status=status
        )
    elif 300 <= status < 400:
        sentence = _("The provider redirected the request; redirects are not followed.")
    else:
        sentence = format_lazy(
            _("The provider rejected the request (status {status})."), status=status
        )
    return ProviderError("provider", sentence, retry_after=retry_after, retry=retry)


def _words(body: Any) -> str:
    """The lower-case text in which the marks are looked for."""
    return (body if isinstance(body, str) else json.dumps(body))[:65_536].lower()


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds from a Retry-After header, which is a number or an HTTP date; None if unreadable."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None

from __future__ import annotations

import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from streaming.models import Stream

from .. import providers
from ..providers.base import ModelChoice
from ..sidebar import short_age

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """An icon of the page's sprite (`_icons.html`); the button around it has the words."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="#icon-{}"/></svg>', name)


@register.simple_tag
def form_key() -> str:
    """A key for a form that acts once; another one at each rendering."""
    return str(uuid.uuid4())


@register.filter
def markdown(text: str) -> SafeString:
    """An ended answer's text as safe HTML, the same that its stream showed."""
    # Safe: the renderer sanitises last.
    return mark_safe(_rendered(text))


@lru_cache(maxsize=128)
def _rendered(text: str) -> str:
    renderer: Any = import_string("conversations.answers.renderer")
    return renderer.render(text)


@register.filter
def model_label(model_id: str) -> str:
    """What people call the model `model_id`, also when it is no longer offered."""
    choice = providers.choice(model_id)
    return choice.label if choice else model_id.partition(":")[2]


@register.filter
def is_among(model_id: str, models: list[ModelChoice]) -> bool:
    """Whether the model can still be picked from `models`."""
    return any(choice.id == model_id for choice in models)


@register.filter
def took(stream: Stream | None) -> str:
    """How long its reader waited for the end of a stream; empty without one, and before it."""
    if stream is None or stream.ended_at is None or stream.start_requested_at is None:
        return ""
    seconds = max(0.0, (stream.ended_at - stream.start_requested_at).total_seconds())
    if seconds < 60:
        return _("%(seconds)s s") % {"seconds": number_format(seconds, decimal_pos=1)}
    return _("%(minutes)d min %(seconds)d s") % {
        "minutes": seconds // 60,
        "seconds": seconds % 60,
    }


@register.filter
def clock(seconds: int) -> str:
    """A length of time as a stop watch shows it."""
    return f"{seconds // 60}:{seconds % 60:02}"


@register.filter
def age(at: datetime) -> str:
    """How long ago `at` was, in a few letters."""
    return short_age(at, timezone.now())

"""The list of a user's conversations, grouped by the age of their last activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db.models import BooleanField, Case, Value, When
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from streaming.models import OPEN_STATUSES

from .models import Conversation

PAGE_CONVERSATIONS = 100


@dataclass(frozen=True)
class Sidebar:
    """What `_sidebar_list.html` draws."""

    user_id: int
    # The user's version that the list stands for.
    version: int
    # (heading, conversations), newest first; each conversation has `running`.
    groups: list[tuple[str, list[Conversation]]]
    limit: int
    # The limit that shows the next page too, or 0 when all are shown.
    next_limit: int


def sidebar_of(user: Any, *, limit: int = PAGE_CONVERSATIONS) -> Sidebar:
    """The newest `limit` conversations of `user`; one query."""
    running = Case(
        When(leaf__stream__status__in=OPEN_STATUSES, then=Value(True)),
        default=Value(False),
        output_field=BooleanField(),
    )
    # The version was read with the user, before the list: the list is at least as new.
    conversations = list(
        Conversation.objects.owned_by(user)
        .only("title", "last_message_at", "owner_id")
        .annotate(running=running)
        .order_by("-last_message_at")[: limit + 1]
    )
    today = timezone.localdate()
    groups = groupby(
        conversations[:limit], lambda conversation: heading(conversation.last_message_at, today)
    )
    return Sidebar(
        user_id=user.pk,
        version=user.version,
        groups=[(title, list(members)) for title, members in groups],
        limit=limit,
        next_limit=limit + PAGE_CONVERSATIONS if len(conversations) > limit else 0,
    )


def heading(at: datetime, today: date) -> str:
    """The group of a last activity at `at`, in the current time zone."""
    day = timezone.localtime(at).date()
    days = (today - day).days
    if days <= 0:
        return _("Today")
    if days == 1:
        return _("Yesterday")
    if days <= 7:
        return _("Previous 7 days")
    if days <= 30:
        return _("Previous 30 days")
    return date_format(day, "F Y" if day.year != today.year else "F")


def short_age(at: datetime, now: datetime) -> str:
    """How long ago, as short as it can be read: now, 5 min, 3 h, 2 d, or the date."""
    seconds = max(0, int((now - at).total_seconds()))
    if seconds < 60:
        return _("now")
    if seconds < 3_600:
        return _("%(count)d min") % {"count": seconds // 60}
    if seconds < 86_400:
        return _("%(count)d h") % {"count": seconds // 3_600}
    if seconds < 7 * 86_400:
        return _("%(count)d d") % {"count": seconds // 86_400}
    return date_format(timezone.localtime(at), "j M")

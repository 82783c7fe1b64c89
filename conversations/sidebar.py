"""The list of a user's conversations, grouped by the age of their last activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db.models import BooleanField, Case, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from streaming.models import OPEN_STATUSES

from .models import Conversation, Message

PAGE_CONVERSATIONS = 50
MAX_CONVERSATIONS = 5_000
FIELDS = ("title", "last_message_at", "owner_id", "pinned_at", "is_unread")


@dataclass(frozen=True)
class Sidebar:
    """What `_sidebar_list.html` draws."""

    user_id: int
    # The user's version that the list stands for.
    version: int
    # (heading, conversations), newest first; each conversation has `running`.
    groups: list[tuple[str, list[Conversation]]]
    # Whether it lists the archive, and whether there is one.
    is_archive: bool
    has_archive: bool
    limit: int
    # The limit that shows the next page too, or 0 when all are shown.
    next_limit: int

    @property
    def query(self) -> str:
        """What an address adds to get this list again."""
        return self._query_of(self.limit)

    @property
    def next_query(self) -> str:
        """What an address adds to get the next page too."""
        return self._query_of(self.next_limit)

    def _query_of(self, limit: int) -> str:
        return f"limit={limit}&archived=1" if self.is_archive else f"limit={limit}"


def sidebar_context(request: HttpRequest) -> dict[str, Any]:
    """The list that a page or its fragment asks for, of a user who is signed in."""
    try:
        limit = int(request.GET.get("limit", PAGE_CONVERSATIONS))
    except ValueError:
        limit = PAGE_CONVERSATIONS
    limit = min(max(limit, PAGE_CONVERSATIONS), MAX_CONVERSATIONS)
    is_archive = "archived" in request.GET
    return {
        "sidebar": sidebar_of(request.user, limit=limit, is_archive=is_archive),
        # The page that the list marks as current; a fragment's own path is not it.
        "current_path": request.path,
    }


def sidebar_of(user: Any, *, limit: int = PAGE_CONVERSATIONS, is_archive: bool = False) -> Sidebar:
    """The pinned conversations of `user` and the newest `limit` others; or the archived ones.

    At most three queries.
    """
    # In whichever branch. From the open streams, which are few, not from each chat's messages, nor
    # from all streams of the user, which SQLite would choose.
    answering = Message.objects.filter(stream__status__in=OPEN_STATUSES).values("conversation")
    running = Case(
        When(pk__in=answering, then=Value(True)),
        default=Value(False),
        output_field=BooleanField(),
    )
    # The version was read with the user, before the list: the list is at least as new.
    own = Conversation.objects.owned_by(user).only(*FIELDS).annotate(running=running)
    pinned: list[Conversation] = []
    if is_archive:
        others = own.archived()
    else:
        pinned = list(own.listed().filter(pinned_at__isnull=False).order_by("-pinned_at"))
        others = own.listed().filter(pinned_at__isnull=True)
    conversations = list(others.order_by("-last_message_at")[: limit + 1])
    today = timezone.localdate()
    by_day = groupby(conversations[:limit], lambda one: heading(one.last_message_at, today))
    groups = [(title, list(members)) for title, members in by_day]
    return Sidebar(
        user_id=user.pk,
        version=user.version,
        groups=[(_("Pinned"), pinned), *groups] if pinned else groups,
        is_archive=is_archive,
        has_archive=is_archive or Conversation.objects.owned_by(user).archived().exists(),
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
    return date_format(day, "YEAR_MONTH_FORMAT" if day.year != today.year else "F")


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
    return date_format(timezone.localtime(at), "MONTH_DAY_FORMAT")

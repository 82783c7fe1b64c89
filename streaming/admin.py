"""Streams in Django's admin: to look at and to stop; machines write them, so nobody edits them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet, Sum
from django.db.models.functions import Length, Substr
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from . import actions, reader
from .exceptions import UnknownGenerator
from .generators import get_generator, registered_names
from .models import Chunk, EndReason, Stream
from .rendering import PlainText

# A page shows at most this many of a stream's first and of its last chunks.
CHUNKS_SHOWN = 200
# Characters of a stream's text that its page renders.
TEXT_SHOWN = 200_000
# Bars of the pace drawing, and the chunks that are read for it.
BARS = 120
CHUNKS_DRAWN = 20_000


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that machines write: there to look at; adding, changing and deleting is refused."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@dataclass(frozen=True)
class Bar:
    """One bar of the pace drawing, in the units of its viewBox."""

    x: float
    y: float
    width: float
    height: float


def pace_bars(
    points: Sequence[tuple[float, int]], *, width: float = 600, height: float = 60, bars: int = BARS
) -> list[Bar]:
    """Bars of the characters per slice of time; `points` are (seconds, characters), oldest first.

    Slices without text have no bar.
    """
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    span = max(last - first, 0.001)
    sums = [0] * bars
    for seconds, characters in points:
        sums[min(int((seconds - first) / span * bars), bars - 1)] += characters
    top, step = max(sums), width / bars
    return [
        Bar(
            x=round(slot * step, 2),
            y=round(height - height * total / top, 2),
            width=round(step * 0.8, 2),
            height=round(height * total / top, 2),
        )
        for slot, total in enumerate(sums)
        if total
    ]


class GeneratorFilter(admin.SimpleListFilter):
    """By generator; the names come from the registry, so that no query scans the table."""

    title = _("generator")
    parameter_name = "generator"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in registered_names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> QuerySet[Stream]:
        return queryset.filter(generator=self.value()) if self.value() else queryset


def seconds(duration: timedelta | None) -> str:
    """The duration as "1.23 s"; a dash for none."""
    return "-" if duration is None else f"{duration.total_seconds():,.2f} s"


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    list_display = (
        "short_id",
        "generator",
        "owner",
        "status",
        "end_reason",
        "length",
        "pace",
        "time_to_first_text",
        "started_at",
    )
    list_filter = ("status", GeneratorFilter, ("created_at", admin.DateFieldListFilter))
    list_select_related = ("owner",)
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-created_at",)
    # Never over chunks: the text of answers is not searched.
    search_fields = ("owner__email",)
    search_help_text = _("A full stream id, or its owner's email address.")
    actions = ("stop_streams",)
    change_form_template = "admin/streaming/stream/change_form.html"
    fieldsets = (
        (None, {"fields": ("id", "generator", "owner", "status", "sentence")}),
        (
            _("Timing"),
            {
                "fields": (
                    ("created_at", "start_requested_at", "started_at"),
                    ("first_text_at", "ended_at"),
                    ("time_to_first_text", "duration", "pace"),
                )
            },
        ),
        (
            _("Log"),
            {"fields": (("length", "epoch", "beat", "hook_pending"), "sha256", "params", "result")},
        ),
    )
    readonly_fields = ("id", "sentence", "time_to_first_text", "duration", "pace")

    class Media:
        css = {"all": ["streaming/admin.css"]}

    @admin.display(description=_("id"), ordering="id")
    def short_id(self, stream: Stream) -> str:
        return str(stream.pk)[:8]

    @admin.display(description=_("reason"))
    def sentence(self, stream: Stream) -> str:
        return stream.sentence or "-"

    @admin.display(description=_("pace"))
    def pace(self, stream: Stream) -> str:
        """Characters a second from the first text to the end, or to now while it is open."""
        if stream.first_text_at is None:
            return "-"
        spent = ((stream.ended_at or timezone.now()) - stream.first_text_at).total_seconds()
        return f"{stream.length / spent:,.0f} /s" if spent > 0 else "-"

    @admin.display(description=_("time to first text"))
    def time_to_first_text(self, stream: Stream) -> str:
        """From the request to start to the first committed text."""
        if stream.first_text_at is None or stream.start_requested_at is None:
            return "-"
        return seconds(stream.first_text_at - stream.start_requested_at)

    @admin.display(description=_("duration"))
    def duration(self, stream: Stream) -> str:
        """From the request to start to the end."""
        if stream.ended_at is None or stream.start_requested_at is None:
            return "-"
        return seconds(stream.ended_at - stream.start_requested_at)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Stream], search_term: str
    ) -> tuple[QuerySet[Stream], bool]:
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whether this person may stop other people's streams: who holds the change permission."""
        return request.user.has_perm("streaming.change_stream")

    @admin.action(description=_("Stop the selected streams"), permissions=["stop"])
    def stop_streams(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        stopped = 0
        for stream in queryset.iterator():
            if actions.stop(stream, EndReason.OPERATOR):
                self.log_change(request, stream, str(_("Stopped.")))
                stopped += 1
        ended = queryset.count() - stopped
        if stopped:
            text = ngettext("%d stream was stopped.", "%d streams were stopped.", stopped)
            self.message_user(request, text % stopped, messages.SUCCESS)
        if ended:
            text = ngettext("%d had already ended.", "%d had already ended.", ended)
            self.message_user(request, text % ended, messages.INFO)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # Called after the permission was checked; `original` is the stream.
        if context.get("original"):
            context |= chunk_context(context["original"]) | text_context(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)


def chunk_context(stream: Stream) -> dict[str, Any]:
    """What the page says of the chunks: the first and last rows, their totals and the drawing."""
    log = Chunk.objects.filter(stream=stream)
    totals = log.aggregate(characters=Sum(Length("text")))
    count = log.count()
    rows = log.annotate(size=Length("text"), preview=Substr("text", 1, 60)).defer("text")
    head = list(rows.order_by("start")[:CHUNKS_SHOWN])
    tail = list(rows.order_by("-start")[: min(CHUNKS_SHOWN, max(count - len(head), 0))])
    # A resumed stream has text that is older than its row.
    origin = min(
        [stream.start_requested_at or stream.created_at, *(c.created_at for c in head[:1])]
    )
    drawn = log.order_by("start").values_list("created_at", Length("text"))[:CHUNKS_DRAWN]
    return {
        "chunk_count": count,
        "chunk_characters": totals["characters"] or 0,
        "chunks_head": with_times(head, origin),
        "chunks_tail": with_times(tail[::-1], origin),
        "chunks_left_out": count - len(head) - len(tail),
        "bars": pace_bars([(at.timestamp(), size) for at, size in drawn]),
    }


def with_times(chunks: Sequence[Chunk], origin: datetime) -> list[tuple[Chunk, int]]:
    """Each chunk with its milliseconds since `origin`."""
    return [
        (chunk, round((chunk.created_at - origin) / timedelta(milliseconds=1))) for chunk in chunks
    ]


def text_context(stream: Stream) -> dict[str, Any]:
    """The stream's text as its own renderer draws it, up to `TEXT_SHOWN` characters."""
    text = reader.read(stream.pk, 0, at_most=TEXT_SHOWN).text
    return {"text_html": rendered(stream, text), "text_left_out": stream.length > len(text)}


def rendered(stream: Stream, text: str) -> SafeString:
    """`text` as safe HTML; plain where the stream's generator is not installed any more."""
    try:
        renderer = get_generator(stream.generator).renderer
    except UnknownGenerator:
        renderer = PlainText()
    return mark_safe(renderer.render(text))  # a Renderer answers safe HTML

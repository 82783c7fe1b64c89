from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


class Status(models.TextChoices):
    """Where a stream stands; the last four are final, and the first final one written stays."""

    PENDING = "pending", _("Pending")
    STREAMING = "streaming", _("Streaming")
    DONE = "done", _("Done")
    ERROR = "error", _("Error")
    TIMEOUT = "timeout", _("Timeout")
    STOPPED = "stopped", _("Stopped")


OPEN_STATUSES = (Status.PENDING, Status.STREAMING)
FINAL_STATUSES = (Status.DONE, Status.ERROR, Status.TIMEOUT, Status.STOPPED)


class EndReason(models.TextChoices):
    """Why a stream ended; the label is the sentence that people read."""

    # done
    COMPLETE = "stop", _("Complete.")
    LENGTH = "length", _("The answer reached its length limit.")
    FILTER = "filter", _("The provider's content filter stopped the answer.")
    CAP = "cap", _("The text reached this site's size limit.")
    # error
    PROVIDER = "provider", _("The provider could not answer.")
    REFUSED = "refused", _("The provider refused the key.")
    RATE_LIMIT = "rate_limit", _("The provider refused: rate limit reached.")
    TOO_LONG = "too_long", _("The message is too long for this model.")
    NO_MODEL = "no_model", _("The model is no longer available.")
    CUT = "cut", _("The connection to the provider was lost.")
    IDLE = "idle", _("The provider stopped responding.")
    DEADLINE = "deadline", _("The answer took too long.")
    STORAGE = "storage", _("The text could not be saved.")
    ATTEMPTS = "attempts", _("The answer was interrupted too many times.")
    FAILED = "failed", _("An error occurred while generating the text.")
    # timeout
    LOST = "lost", _("Interrupted: the server restarted.")
    # stopped
    USER = "user", _("Stopped.")
    OPERATOR = "operator", _("Stopped by an operator.")
    DELETED = "deleted", _("Deleted.")


class StreamQuerySet(models.QuerySet["Stream"]):
    def open(self) -> StreamQuerySet:
        """Streams that may still change: pending or streaming."""
        return self.filter(status__in=OPEN_STATUSES)

    def ended(self) -> StreamQuerySet:
        """Streams in a final state."""
        return self.filter(status__in=FINAL_STATUSES)

    def startable(self) -> StreamQuerySet:
        """Pending streams whose start was requested."""
        return self.filter(status=Status.PENDING, start_requested_at__isnull=False)

    def owned_by(self, user: AbstractBaseUser | Any) -> StreamQuerySet:
        return self.filter(owner=user.pk)


class Stream(models.Model):
    """A persistent text stream: an append-only log of chunks, one generator at a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    generator = models.CharField(max_length=100)
    params = models.JSONField(default=dict, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="streams",
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    end_reason = models.CharField(max_length=20, choices=EndReason.choices, blank=True)
    # A sentence for people that says more than the end reason's label, never a raw error.
    end_detail = models.CharField(max_length=500, blank=True)
    # What the generator says of its text (token counts, for example); never the text itself.
    result = models.JSONField(default=dict, blank=True)
    # Unicode code points committed so far.
    length = models.PositiveIntegerField(default=0)
    # SHA-256 of the whole text in UTF-8, in hex; set with the final state.
    sha256 = models.CharField(max_length=64, blank=True)
    # Fencing token: raised by each claim of what was not released, so that only the newest writer
    # may append.
    epoch = models.PositiveIntegerField(default=0)
    # Heartbeat: raised while the writer's task is alive; compared, never read as a time.
    beat = models.PositiveBigIntegerField(default=0)
    # The end stands but the generator's on_end hook has not succeeded yet.
    hook_pending = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    start_requested_at = models.DateTimeField(null=True, blank=True)
    # When its present (or last) writer claimed it, and when the first text of all was committed.
    started_at = models.DateTimeField(null=True, blank=True)
    first_text_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    # Not stored: topics whose new version a page has once it shows the end; see `generator`.
    topics: Mapping[str, int] = {}

    objects = StreamQuerySet.as_manager()

    class Meta:
        indexes = [
            # The sweeper's round over open streams, and the admin's filter by state.
            models.Index(fields=["status", "created_at"], name="stream_status_created"),
            # The sweeper's retry of on_end hooks.
            models.Index(fields=["id"], condition=Q(hook_pending=True), name="stream_hook_pending"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="stream_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status__in=OPEN_STATUSES, ended_at__isnull=True)
                | Q(status__in=FINAL_STATUSES, ended_at__isnull=False),
                name="stream_ended_at_iff_final",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.generator} {self.pk} ({self.status})"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def was_taken_over(self) -> bool:
        """Whether a writer took it over, after a crash or a hand-over, and went on with its text.

        One writer claims it and then commits the first text, both by its own clock; who claims it
        later does so no earlier than that text.
        """
        began, wrote = self.started_at, self.first_text_at
        is_later = began is not None and wrote is not None and wrote <= began
        # Who cannot go on takes it over as well, to end it.
        return is_later and self.end_reason != EndReason.LOST

    @property
    def note(self) -> str:
        """What people are told under the text beside the state; empty for most."""
        return str(_("Resumed after an interruption.")) if self.was_taken_over else ""

    @property
    def sentence(self) -> str:
        """Why the stream ended, in a sentence for people; empty while it is open."""
        if self.end_detail:
            return self.end_detail
        return str(EndReason(self.end_reason).label) if self.end_reason else ""


class Chunk(models.Model):
    """A piece of a stream's text; `start` is its offset in Unicode code points."""

    id = models.BigAutoField(primary_key=True)
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="chunks")
    start = models.PositiveIntegerField()
    text = models.TextField()
    epoch = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Two writers can never both put text at one offset; serves every read from an offset.
            models.UniqueConstraint(fields=["stream", "start"], name="chunk_stream_start_unique"),
            models.CheckConstraint(condition=~Q(text=""), name="chunk_text_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id} at {self.start}"

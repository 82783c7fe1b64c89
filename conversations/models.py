from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from streaming.models import EndReason, Status, Stream
from streaming.reader import text_of

from . import reasoning

TITLE_MAX_CHARS = 200
NAME_MAX_CHARS = 80


class Role(models.TextChoices):
    USER = "user", _("User")
    ASSISTANT = "assistant", _("Assistant")


class Rating(models.TextChoices):
    GOOD = "good", _("Good answer")
    BAD = "bad", _("Bad answer")


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible(self) -> ConversationQuerySet:
        """Conversations that were not deleted."""
        return self.filter(deleted_at__isnull=True)

    def deleted(self) -> ConversationQuerySet:
        """Conversations that nobody sees any more and whose rows are being removed."""
        return self.filter(deleted_at__isnull=False)

    def listed(self) -> ConversationQuerySet:
        """Visible conversations that were not put away into the archive."""
        return self.visible().filter(archived_at__isnull=True)

    def archived(self) -> ConversationQuerySet:
        """Visible conversations in the archive."""
        return self.visible().filter(archived_at__isnull=False)

    def owned_by(self, user: Any) -> ConversationQuerySet:
        """The visible conversations of `user`; the look-up that is the permission."""
        return self.visible().filter(owner=user.pk)


class Conversation(models.Model):
    """A tree of messages; the path from its root to `leaf` is what the page shows."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations"
    )
    title = models.CharField(max_length=TITLE_MAX_CHARS, blank=True)
    # "<provider>:<name>", as the model registry lists it; empty means the site's default.
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True)
    # Parameters of the generation (temperature, max_tokens), passed on as they are.
    parameters = models.JSONField(default=dict, blank=True)
    leaf = models.ForeignKey(
        "Message", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # Raised in each action's transaction; a message carries the version of its last change.
    version = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_message_at = models.DateTimeField(default=timezone.now)
    # In the list: above all others, or in the archive instead.
    pinned_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # An answer has ended that no page of the owner has shown yet.
    is_unread = models.BooleanField(default=False, editable=False)
    # Hidden at once, by the database's clock; the rows are purged later in pages. A purge takes
    # `leaf` first: a deleted conversation without one cannot come back.
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-last_message_at"]
        indexes = [
            # The sidebar: one owner's conversations by last activity, in its two lists.
            models.Index(
                fields=["owner", "-last_message_at"],
                condition=Q(deleted_at__isnull=True, archived_at__isnull=True),
                name="conversation_sidebar",
            ),
            models.Index(
                fields=["owner", "-last_message_at"],
                condition=Q(deleted_at__isnull=True, archived_at__isnull=False),
                name="conversation_archive",
            ),
            # The few on top of it.
            models.Index(
                fields=["owner", "-pinned_at"],
                condition=Q(deleted_at__isnull=True, pinned_at__isnull=False),
                name="conversation_pinned",
            ),
            # What is left to purge, oldest deletion first.
            models.Index(
                fields=["deleted_at"],
                condition=Q(deleted_at__isnull=False),
                name="conversation_deleted",
            ),
        ]

    def __str__(self) -> str:
        return self.title or str(_("New chat"))

    def get_absolute_url(self) -> str:
        return reverse("conversations:conversation-detail", args=[self.pk])


class Message(models.Model):
    """One turn. Retry and edit make siblings under the same parent; nothing is overwritten."""

    id = models.BigAutoField(primary_key=True)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages"
    )
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="replies"
    )
    role = models.CharField(max_length=10, choices=Role.choices)
    # For an answer: empty while its stream is open, then the stream's text but for its reasoning.
    content = models.TextField(blank=True)
    # What the model thought before it answered, and for how long; see `reasoning`.
    reasoning = models.TextField(blank=True)
    reasoning_seconds = models.PositiveIntegerField(null=True, blank=True)
    # An answer's stream; its chunks are the text until `content` is set.
    stream = models.OneToOneField(
        "streaming.Stream",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="message",
    )
    # The model that gave this answer, as in Conversation.model.
    model = models.CharField(max_length=200, blank=True)
    # Token counts as the provider reports them: prompt_tokens, completion_tokens.
    usage = models.JSONField(default=dict, blank=True)
    # The conversation's version when this message last changed.
    version = models.PositiveBigIntegerField(default=0, editable=False)
    # What its owner thinks of an answer, and why; pages fetch what was rated by its own version,
    # so that its text is not drawn anew.
    rating = models.CharField(max_length=4, choices=Rating.choices, blank=True)
    rating_word = models.CharField(max_length=500, blank=True)
    rating_version = models.PositiveBigIntegerField(default=0, editable=False)
    # Of a copy: when the original was written.
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # Not stored: the pks of all messages with its parent, oldest first; see `Tree.messages`.
    variants: Sequence[int] = ()

    class Meta:
        ordering = ["id"]
        indexes = [
            # What changed in a conversation since the version a page has.
            models.Index(fields=["conversation", "version"], name="message_changes"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(role=Role.ASSISTANT) | Q(stream__isnull=True),
                name="message_stream_only_for_answers",
            ),
            models.CheckConstraint(
                condition=Q(role=Role.ASSISTANT) | Q(rating=""),
                name="message_rating_only_for_answers",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} {self.pk}"

    @property
    def variant(self) -> int:
        """Its place among its variants, from 1."""
        return self.variants.index(self.pk) + 1

    @property
    def previous_variant(self) -> int | None:
        return self.variants[self.variant - 2] if self.variant > 1 else None

    @property
    def next_variant(self) -> int | None:
        return self.variants[self.variant] if self.variant < len(self.variants) else None

    @property
    def is_whole(self) -> bool:
        """Whether `content` is all of it: a prompt, or an answer whose end was handed over."""
        return self.stream is None or not (self.stream.is_open or self.stream.hook_pending)

    def text(self) -> str:
        """All that is stored of it so far; queries while that is still its stream's."""
        if self.is_whole:
            return reasoning.joined(self.reasoning, self.content)
        return text_of(cast("Stream", self.stream))

    def body(self) -> str:
        """`text` without what the model thought: what people take along."""
        return self.content if self.is_whole else reasoning.split(self.text())[1]

    def thought_for(self) -> int | None:
        """Seconds that its model thought, or has thought so far; None if it did not.

        A query while it runs.
        """
        if self.reasoning_seconds is None and self.stream and self.stream.is_open:
            return reasoning.seconds_of(self.stream)
        return self.reasoning_seconds

    @property
    def can_continue(self) -> bool:
        """Whether its text can go on: it ended before its own end, not by the site's limit."""
        stream = self.stream
        if stream is None or stream.is_open or not stream.length:
            return False
        if stream.status == Status.DONE:
            return stream.end_reason == EndReason.LENGTH
        return stream.end_reason != EndReason.DELETED


class QueuedMessage(models.Model):
    """A follow-up that waits for the end of `answer`: no message of the tree before it is sent.

    An answer that is done sends its oldest one; after any other end they wait for a person.
    """

    id = models.BigAutoField(primary_key=True)
    answer = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="queued")
    content = models.TextField()
    # Raised by each edit; of two tabs that edit it the second one learns that it is late.
    edition = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        # The order in which they are sent.
        ordering = ["id"]

    def __str__(self) -> str:
        return gettext("Queued message %(number)s") % {"number": self.pk}


class Submission(models.Model):
    """The record that makes one rendered form act once, however often it is sent.

    It is inserted first, in the action's transaction; who loses the insert reads the winner's
    `message` (the prompt that was stored; of a queued one the answer that it waits for).
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="submissions"
    )
    key = models.UUIDField()
    body_hash = models.CharField(max_length=64)
    message = models.ForeignKey(Message, null=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="submission_user_key_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.key}"


class Defaults(models.Model):
    """What a person's chats use where a chat itself says nothing; empty means the site's."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="defaults",
    )
    # As in Conversation.
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "defaults"

    def __str__(self) -> str:
        return f"Defaults of {self.user_id}"


class Persona(models.Model):
    """A system prompt that a person keeps under a name."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="personas"
    )
    name = models.CharField(max_length=NAME_MAX_CHARS)
    prompt = models.TextField()

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name


class ProviderKey(models.Model):
    """A person's own key to a provider; what may be shown of it is its last four characters."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="provider_keys"
    )
    # openai (any server that speaks its protocol) or anthropic.
    provider = models.CharField(max_length=20)
    base_url = models.CharField(max_length=500)
    # By `encryption`, bound to the user and the origin.
    ciphertext = models.TextField(editable=False)
    last4 = models.CharField(max_length=4)
    # What the provider listed when it was last asked: name, label, context_tokens.
    listed = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["provider"]
        constraints = [
            models.UniqueConstraint(fields=["user", "provider"], name="provider_key_one_each"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} …{self.last4}"

    @property
    def provider_name(self) -> str:
        return {"openai": "OpenAI", "anthropic": "Anthropic"}[self.provider]

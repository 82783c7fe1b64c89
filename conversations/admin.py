"""Conversations in Django's admin: read as the chat reads, deleted as there, never edited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from streaming.admin import ReadOnlyAdmin
from streaming.generators import get_generator

from .actions import GENERATOR
from .keeping import delete_conversation
from .models import Conversation, Message, Role
from .paths import Tree

# A page shows at most this many of a conversation's newest messages.
MESSAGES_SHOWN = 100


@dataclass(frozen=True)
class Turn:
    """One message of the shown path, ready for the template."""

    message: Message
    html: SafeString


def path_turns(conversation: Conversation) -> tuple[list[Turn], int]:
    """The newest turns of the path to the conversation's leaf, and how many older ones it has."""
    tree = Tree.of(conversation.pk)
    path = tree.path_to(conversation.leaf_id)
    shown = tree.messages(path[-MESSAGES_SHOWN:])
    turns = [Turn(message, message_html(message)) for message in shown]
    return turns, len(path) - len(shown)


def message_html(message: Message) -> SafeString:
    """The message as the chat draws it: an answer as sanitised HTML, a prompt as it was typed."""
    if message.role == Role.USER:
        return escape(message.content)
    # The sanitiser is the last step of the chat's renderer.
    return mark_safe(get_generator(GENERATOR).renderer.render(message.text()))


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = (
        "title_or_new",
        "owner",
        "model",
        "message_count",
        "last_message_at",
        "deleted_at",
    )
    list_filter = (
        ("last_message_at", admin.DateFieldListFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("owner",)
    list_per_page = 50
    show_full_result_count = False
    ordering = ("-last_message_at",)
    search_fields = ("title", "owner__email")
    search_help_text = _("A title, or an owner's email address.")
    # The chat's page is its owner's alone.
    view_on_site = False
    change_form_template = "admin/conversations/conversation/change_form.html"
    fieldsets = (
        (None, {"fields": ("id", "title", "owner", "model", "system_prompt", "parameters")}),
        (_("Times"), {"fields": (("created_at", "last_message_at", "deleted_at"),)}),
    )
    readonly_fields = ("id",)

    class Media:
        css = {"all": ["streaming/admin.css", "conversations/admin.css"]}

    # Read, not edited; but who may delete a conversation may delete all of it.
    has_delete_permission = admin.ModelAdmin.has_delete_permission

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        to_delete, counts, _needed, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        delete_conversation(obj, for_good=True)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        for conversation in queryset:
            delete_conversation(conversation, for_good=True)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).annotate(message_count=Count("messages"))

    @admin.display(description=_("title"), ordering="title")
    def title_or_new(self, conversation: Conversation) -> str:
        return str(conversation)

    @admin.display(description=_("messages"), ordering="message_count")
    def message_count(self, conversation: Conversation) -> int:
        return conversation.message_count  # type: ignore[attr-defined]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # Called after the permission was checked; `original` is the conversation.
        if context.get("original"):
            context["turns"], context["older"] = path_turns(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

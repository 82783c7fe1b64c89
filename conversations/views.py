"""The chat's pages and forms: plain HTML first, fragments of the same templates for htmx."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url, reswap, retarget

from . import actions
from .forms import DeletedForm, KeyForm, MessageForm, ModelForm, ShownForm
from .keeping import deleted_with, restorable
from .models import Role
from .pages import (
    acted,
    changed,
    chat_page,
    keeps_text,
    model_context,
    more_messages,
    refusal,
    start_page,
)
from .requests import HtmxRequest, conversation_of, message_of, private, submit
from .submissions import Queued, Sent

# --- Pages


@private
@require_safe
def conversation_list(request: HtmxRequest) -> HttpResponse:
    """The start page, for everybody: a composer for a new chat, beside the list of chats.

    `?deleted=<id>` offers to undo that deletion, of all that went with it, to whom no script does.
    """
    form = DeletedForm(request.GET)
    deleted = None
    if form.is_valid():
        deleted = restorable(request.user.pk).filter(pk=form.cleaned_data["deleted"]).first()
    count = deleted_with(deleted).count() if deleted else 0
    return start_page(request, MessageForm(), deleted, count)


@private
@require_safe
def conversation_detail(request: HtmxRequest, pk: UUID) -> HttpResponse:
    return chat_page(request, conversation_of(request, pk), MessageForm())


@private
@require_GET
def conversation_changes(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """What a page lacks that shows `leaf` as of `version`, as out-of-band fragments."""
    return changed(request, conversation_of(request, pk), ShownForm(request.GET))


@private
@require_GET
def conversation_earlier(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The messages above those that a page shows."""
    return _more_messages(request, pk, earlier=True)


@private
@require_GET
def conversation_later(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The messages below those that a page shows which does not reach the newest."""
    return _more_messages(request, pk, earlier=False)


def _more_messages(request: HtmxRequest, pk: UUID, *, earlier: bool) -> HttpResponse:
    conversation = conversation_of(request, pk)
    if not request.htmx:
        return redirect(conversation)
    return more_messages(request, conversation, ShownForm(request.GET), earlier=earlier)


# --- Forms


@private
@require_POST
def conversation_create(request: HtmxRequest) -> HttpResponse:
    """Start a chat; an anonymous visitor's first message makes a guest of them, without a page."""
    form = MessageForm(request.POST)
    newcomer = not request.user.is_authenticated

    def start() -> Sent:
        user = import_string(settings.GUEST_SIGN_IN)(request) if newcomer else request.user
        return actions.start_conversation(user, **form.cleaned_data)

    sent, status = submit(form, start)
    if sent is None:
        return refusal(request, form, status, start_page)
    if not request.htmx:
        return redirect(sent.conversation)
    if newcomer:
        # Another person's page needs another CSRF token and another socket: load it whole.
        return HttpResponseClientRedirect(sent.conversation.get_absolute_url())
    response = chat_page(request, sent.conversation, MessageForm(), sent)
    push_url(response, sent.conversation.get_absolute_url())
    return reswap(retarget(response, "#main"), "outerHTML")


@private
@require_POST
@keeps_text
def message_create(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = conversation_of(request, pk)
    form = MessageForm(request.POST)

    def send() -> Sent | Queued:
        content, key = form.cleaned_data["content"], form.cleaned_data["key"]
        return actions.send_message(conversation, content, key=key)

    sent, status = submit(form, send)
    if sent is None:
        return refusal(request, form, status, chat_page, conversation)
    return acted(request, conversation, form=MessageForm())


@private
@require_POST
def message_retry(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = message_of(request, pk, role=Role.ASSISTANT)
    form = KeyForm(request.POST)
    retried, status = submit(form, lambda: actions.retry(answer, **form.cleaned_data))
    if retried is None:
        return refusal(request, form, status, chat_page, answer.conversation)
    return acted(request, answer.conversation)


@private
@require_POST
def message_continue(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = message_of(request, pk, role=Role.ASSISTANT)
    form = KeyForm(request.POST)
    continued, status = submit(form, lambda: actions.continue_answer(answer, **form.cleaned_data))
    if continued is None:
        return refusal(request, form, status, chat_page, answer.conversation)
    return acted(request, answer.conversation)


@private
@require_POST
def message_stop(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = message_of(request, pk, role=Role.ASSISTANT)
    actions.stop(answer)
    return acted(request, answer.conversation)


@private
@require_POST
def conversation_model(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = conversation_of(request, pk)
    form = ModelForm(request.POST)

    def choose() -> bool:
        actions.set_model(conversation, form.cleaned_data["model"])
        return True

    chosen, status = submit(form, choose)
    if chosen is None:
        return refusal(request, form, status, chat_page, conversation)
    if not request.htmx:
        return redirect(conversation)
    context = {"conversation": conversation, "form": form, **model_context(request, conversation)}
    return render(request, "conversations/_model_chosen.html", context)

"""The forms of the follow-ups that wait for an answer's end."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import reswap, retarget

from . import queueing
from .exceptions import NotQueued
from .forms import KeyForm, MessageForm, QueuedForm, SpokenForm
from .models import Conversation, QueuedMessage
from .pages import acted, chat_page, keeps_text, refusal
from .requests import HtmxRequest, conversation_of, private, refused, submit


@private
@require_http_methods(["GET", "HEAD", "POST"])
@keeps_text
def queued_edit(request: HtmxRequest, pk: UUID, number: int) -> HttpResponse:
    """The form in the place of a follow-up, and the text that it stores."""
    conversation = conversation_of(request, pk)
    if request.method != "POST":
        if not request.htmx:
            return redirect(f"{conversation.get_absolute_url()}?queued={number}#queued-{number}")
        queued = queued_of(conversation, number)
        if queued is None:
            return acted(request, conversation)
        form = QueuedForm(queued)
        context = {"conversation": conversation, "queued_form": form, "message": queued}
        return render(request, "conversations/_queued_edit.html", context)
    form = QueuedForm(queued_of(conversation, number) or QueuedMessage(pk=number), request.POST)

    def store() -> bool:
        queueing.edit(_found(conversation, number), **form.cleaned_data)
        return True

    stored, status = submit(form, store)
    if stored is None:
        return _edit_refusal(request, conversation, form, status)
    return acted(request, conversation)


def _edit_refusal(
    request: HtmxRequest, conversation: Conversation, form: QueuedForm, status: int
) -> HttpResponse:
    """The reason beside the text, with the version that was compared now; else the page."""
    if not request.htmx:
        response = chat_page(request, conversation, MessageForm(), queued_form=form)
    else:
        context = {"message": form.queued, "queued_form": form}
        response = render(request, "conversations/_queued_status.html", context)
        reswap(retarget(response, f"#queued-status-{form.queued.pk}"), "outerHTML")
    return refused(response, status)


@private
@require_POST
def queued_withdraw(request: HtmxRequest, pk: UUID, number: int) -> HttpResponse:
    conversation = conversation_of(request, pk)
    form = SpokenForm(request.POST)

    def withdraw() -> bool:
        queueing.withdraw(_found(conversation, number))
        return True

    withdrawn, status = submit(form, withdraw)
    if withdrawn is None:
        return refusal(request, form, status, chat_page, conversation)
    return acted(request, conversation)


@private
@require_POST
def queued_send(request: HtmxRequest, pk: UUID, number: int) -> HttpResponse:
    conversation = conversation_of(request, pk)
    form = KeyForm(request.POST)
    # The same form again finds no row, but what it has sent.
    queued = queued_of(conversation, number) or QueuedMessage(pk=number, answer=conversation.leaf)
    sent, status = submit(form, lambda: queueing.send_now(queued, **form.cleaned_data))
    if sent is None:
        return refusal(request, form, status, chat_page, conversation)
    return acted(request, conversation, at=sent.prompt)


def queued_of(conversation: Conversation, number: int) -> QueuedMessage | None:
    mine = QueuedMessage.objects.filter(answer__conversation=conversation.pk, pk=number)
    return mine.select_related("answer__conversation__owner").first()


def _found(conversation: Conversation, number: int) -> QueuedMessage:
    queued = queued_of(conversation, number)
    if queued is None:
        raise NotQueued(queueing.gone_sentence())
    return queued

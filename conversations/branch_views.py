"""The forms that move through a chat's tree of messages, and that make it grow sideways."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import push_url, reswap, retarget

from . import actions, branches
from .forms import EditForm, KeyForm, MessageForm, RatingForm, SpokenForm
from .models import Role
from .pages import acted, chat_page, keeps_text, refusal
from .paths import Tree
from .requests import HtmxRequest, message_of, private, refused, submit


@private
@require_safe
def message_detail(request: HtmxRequest, pk: int) -> HttpResponse:
    """A message as its chat draws it, for a page that has put a form in its place.

    Empty when the chat shows another branch by now.
    """
    message = message_of(request, pk)
    conversation = message.conversation
    if not request.htmx:
        return redirect(f"{conversation.get_absolute_url()}#message-{pk}")
    tree = Tree.of(conversation.pk)
    if pk not in tree.path_to(conversation.leaf_id):
        return HttpResponse()
    context = {"conversation": conversation, "message": tree.messages([pk])[0]}
    return render(request, "conversations/_message.html", context)


@private
@require_http_methods(["GET", "HEAD", "POST"])
@keeps_text
def message_edit(request: HtmxRequest, pk: int) -> HttpResponse:
    """The form in the place of one of the person's messages, and the branch that it makes."""
    prompt = message_of(request, pk, role=Role.USER)
    conversation = prompt.conversation
    if request.method != "POST":
        if not request.htmx:
            return redirect(f"{conversation.get_absolute_url()}?edit={pk}#message-{pk}")
        context = {"message": prompt, "edit_form": EditForm(prompt)}
        return render(request, "conversations/_edit.html", context)
    form = EditForm(prompt, request.POST)
    sent, status = submit(form, lambda: actions.edit_message(prompt, **form.cleaned_data))
    if sent is None:
        return _edit_refusal(request, form, status)
    return acted(request, conversation, at=sent.prompt, gone=prompt)


def _edit_refusal(request: HtmxRequest, form: EditForm, status: int) -> HttpResponse:
    """The reason and a fresh key beside the text; without htmx the page with the form in it."""
    message = form.message
    if not request.htmx:
        response = chat_page(request, message.conversation, MessageForm(), edit_form=form)
    else:
        context = {"message": message, "edit_form": form}
        response = render(request, "conversations/_edit_status.html", context)
        reswap(retarget(response, f"#edit-status-{message.pk}"), "outerHTML")
    return refused(response, status)


@private
@require_POST
def message_show(request: HtmxRequest, pk: int) -> HttpResponse:
    """Let all pages of the chat show the branch of this message."""
    message = message_of(request, pk)
    form = SpokenForm(request.POST)

    def show() -> bool:
        branches.show_branch(message)
        return True

    shown, status = submit(form, show)
    if shown is None:
        return refusal(request, form, status, chat_page, message.conversation)
    return acted(request, message.conversation, at=message)


@private
@require_safe
def message_text(request: HtmxRequest, pk: int) -> HttpResponse:
    """The message as it was written: what is copied."""
    return HttpResponse(message_of(request, pk).body(), content_type="text/markdown; charset=utf-8")


@private
@require_POST
def message_rate(request: HtmxRequest, pk: int) -> HttpResponse:
    """Keep a rating and ask for a word, or keep both."""
    answer = message_of(request, pk, role=Role.ASSISTANT)
    form = RatingForm(request.POST)

    def rate() -> bool:
        actions.rate(answer, **form.cleaned_data)
        return True

    rated, status = submit(form, rate)
    if rated is None:
        response = refusal(request, form, status, chat_page, answer.conversation)
        # Beside the word; without htmx there is a page.
        return retarget(response, f"#word-error-{pk}") if "word" in form.data else response
    has_word = "word" in form.data
    if not request.htmx:
        query = "" if has_word or not answer.rating else f"?rated={pk}"
        return redirect(f"{answer.conversation.get_absolute_url()}{query}#message-{pk}")
    said: dict[str, Any] = {"thanks": pk} if has_word else {"asks_word": pk}
    return acted(request, answer.conversation, **said)


@private
@require_POST
def message_fork(request: HtmxRequest, pk: int) -> HttpResponse:
    """A new chat from this message on, and its page."""
    message = message_of(request, pk)
    form = KeyForm(request.POST)
    newest, status = submit(form, lambda: branches.fork(message, **form.cleaned_data))
    if newest is None:
        return refusal(request, form, status, chat_page, message.conversation)
    if not request.htmx:
        return redirect(newest.conversation)
    response = chat_page(request, newest.conversation, MessageForm())
    push_url(response, newest.conversation.get_absolute_url())
    return reswap(retarget(response, "#main"), "outerHTML")

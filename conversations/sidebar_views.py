"""The list of chats: what the sidebar fetches, and what a person does with a whole chat."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import escape
from django.utils.http import content_disposition_header
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)
from django_htmx.http import push_url, reswap, retarget, trigger_client_event

from streaming.executors import run_read

from . import downloads, keeping, searching
from .forms import MessageForm, SearchForm, SwitchForm, TitleForm
from .models import Conversation
from .pages import chat_page, render_page, start_page
from .requests import HtmxRequest, conversation_of, private, submit
from .sidebar import sidebar_context

DOWNLOADS = {
    "md": ("text/markdown; charset=utf-8", downloads.markdown_of),
    "json": ("application/json", downloads.json_of),
}
# What some system does not take in the name of a file; letters of all languages are fine.
UNSAFE_IN_NAMES = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200b-\u200f\u202a-\u202e\u2066-\u2069]+'
)
NAME_MAX_CHARS = 80


@private
@require_GET
def sidebar(request: HtmxRequest) -> HttpResponse:
    """The list of chats, as the sidebar fetches it again when it changed."""
    if not request.user.is_authenticated:
        return HttpResponse(status=403)
    context = sidebar_context(request) | {"current_path": request.htmx.current_url_abs_path}
    return render(request, "conversations/_sidebar_list.html", context)


@private
@require_GET
def search(request: HtmxRequest) -> HttpResponse:
    """What the search field finds, in place of the list; without a script a page of its own.

    With the field empty that is the list again.
    """
    if not request.user.is_authenticated:
        start = "conversations:conversation-list"
        return HttpResponse(status=403) if request.htmx else redirect(start)
    if request.htmx and not request.GET.get("q"):
        return sidebar(request)
    form = SearchForm(request.GET if "q" in request.GET else None)
    is_found = form.is_valid()
    context: dict[str, Any] = {"search_form": form}
    if is_found:
        context["results"] = searching.search(request.user, form.cleaned_data["q"])
    if request.htmx:
        response = render(request, "conversations/_search_results.html", context)
    else:
        response = render_page(request, "search", context)
    response.status_code = 422 if form.is_bound and not is_found else 200
    return response


@private
@require_GET
def conversation_options(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """What can be done with a chat: the menu of its row, or a page of its own."""
    conversation = conversation_of(request, pk)
    if request.htmx:
        return render(request, "conversations/_chat_menu.html", {"conversation": conversation})
    return _options_page(request, conversation, _title_form(conversation))


@private
@require_http_methods(["GET", "HEAD", "POST"])
def conversation_rename(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The form in the chat's row, and what it sends."""
    conversation = conversation_of(request, pk)
    if request.method != "POST":
        return _rename_form(request, conversation, _title_form(conversation))
    form = TitleForm(request.POST)

    def rename() -> bool:
        keeping.rename(conversation, form.cleaned_data["title"])
        return True

    renamed, status = submit(form, rename)
    if renamed is None:
        return _rename_form(request, conversation_of(request, pk), form, status)
    return _done(request, conversation)


@private
@require_POST
def conversation_pin(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = conversation_of(request, pk)
    keeping.pin(conversation, _is_on(request))
    return _done(request, conversation)


@private
@require_POST
def conversation_archive(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = conversation_of(request, pk)
    keeping.archive(conversation, _is_on(request))
    return _done(request, conversation)


@private
@require_POST
def conversation_delete(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """Delete a chat; for a while the answer's Undo brings it back."""
    conversation = conversation_of(request, pk)
    keeping.delete_conversation(conversation)
    start = reverse("conversations:conversation-list")
    if not request.htmx:
        return redirect(f"{start}?deleted={pk}")
    if not _is_shown(request, conversation):
        context = {"deleted": conversation}
        return _list_changed(render(request, "conversations/_toast.html", context))
    response = push_url(start_page(request, MessageForm(), conversation), start)
    return _list_changed(reswap(retarget(response, "#main"), "outerHTML"))


@private
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete_all(request: HtmxRequest) -> HttpResponse:
    """Delete all chats, once that was confirmed; for a while Undo brings back all of them."""
    if request.method != "POST":
        chats = Conversation.objects.owned_by(request.user).count()
        return render(request, "conversations/delete_all.html", {"chats": chats})
    keeping.delete_all(request.user)
    start = reverse("conversations:conversation-list")
    # Sent twice, the second answer offers the undo of the first.
    newest = keeping.restorable(request.user.pk).order_by("-deleted_at").first()
    return redirect(f"{start}?deleted={newest.pk}" if newest else start)


@private
@require_POST
def conversation_restore(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """Undo a deletion. Again, or when it was undone elsewhere, it does nothing."""
    conversation = keeping.restorable(request.user.pk).filter(pk=pk).first()
    restored = keeping.restore(conversation) if conversation else 0
    conversation = conversation_of(request, pk)
    if not request.htmx:
        return redirect("conversations:conversation-list" if restored > 1 else conversation)
    if "reopen" not in request.POST:
        return _list_changed(render(request, "conversations/_toast.html"))
    response = chat_page(request, conversation, MessageForm())
    response = push_url(response, conversation.get_absolute_url())
    return _list_changed(reswap(retarget(response, "#main"), "outerHTML"))


@private
@require_POST
def conversation_read(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """A page shows the newest answer to its end: the chat is unread no more."""
    conversation = conversation_of(request, pk)
    version = keeping.mark_read(conversation)
    response = HttpResponse(status=204)
    if version is not None:
        # That page knows: it need not fetch its list for this version.
        known = {f"user:{conversation.owner_id}": version}
        trigger_client_event(response, "streaming:brought", known)
    return response


@private
@require_safe
def conversation_download(request: HtmxRequest, pk: UUID, kind: str) -> StreamingHttpResponse:
    """A chat as a file: `md` for reading, `json` with everything."""
    conversation = conversation_of(request, pk)
    if kind not in DOWNLOADS:
        raise Http404
    content_type, parts_of = DOWNLOADS[kind]
    parts = parts_of(conversation)
    response = StreamingHttpResponse(
        _in_thread(parts) if isinstance(request, ASGIRequest) else parts,
        content_type=content_type,
    )
    name = " ".join(UNSAFE_IN_NAMES.sub(" ", str(conversation)).split())
    name = name[:NAME_MAX_CHARS].strip(" .") or "chat"
    response.headers["Content-Disposition"] = content_disposition_header(True, f"{name}.{kind}")
    return response


async def _in_thread(parts: Iterator[str]) -> AsyncIterator[str]:
    """The parts as they are asked for, each read in a thread for readers."""
    while (part := await run_read(next, parts, None)) is not None:
        yield part


# --- Their parts


def _title_form(conversation: Conversation) -> TitleForm:
    return TitleForm(initial={"title": str(conversation)})


def _rename_form(
    request: HtmxRequest, conversation: Conversation, form: TitleForm, status: int = 200
) -> HttpResponse:
    if not request.htmx:
        return _options_page(request, conversation, form, status)
    if form.is_bound:
        # Beside the field, in which one may have typed on.
        response = HttpResponse(escape(form.sentence), status=status)
        return reswap(retarget(response, f"#rename-error-{conversation.pk}"), "innerHTML")
    context = {"conversation": conversation, "form": form}
    return render(request, "conversations/_rename_form.html", context)


def _options_page(
    request: HtmxRequest, conversation: Conversation, form: TitleForm, status: int = 200
) -> HttpResponse:
    response = render_page(request, "options", {"conversation": conversation, "form": form})
    response.status_code = status
    return response


def _is_on(request: HtmxRequest) -> bool:
    form = SwitchForm(request.POST)
    return form.is_valid() and form.cleaned_data["on"]


def _is_shown(request: HtmxRequest, conversation: Conversation) -> bool:
    """Whether the page that asks shows this chat."""
    path = (request.htmx.current_url_abs_path or "").partition("?")[0]
    return path == conversation.get_absolute_url()


def _done(request: HtmxRequest, conversation: Conversation) -> HttpResponse:
    return _list_changed(HttpResponse()) if request.htmx else redirect(conversation)


def _list_changed(response: HttpResponse) -> HttpResponse:
    """Let the page that asked fetch its list at once; others learn it by their topic."""
    changed: dict[str, Any] = {"target": "#sidebar-list"}
    return trigger_client_event(response, "streaming:changed", changed, after="swap")

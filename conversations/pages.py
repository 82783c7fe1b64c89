"""The chat's pages, and what a form of theirs gets back: what the views share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_htmx.http import reswap, retarget

from . import preferences, providers
from .forms import EditForm, MessageForm, QueuedForm, ShownForm, SpokenForm
from .models import Conversation, Message, Persona, Role
from .paths import Tree, changes_since
from .providers.base import ModelChoice
from .requests import HtmxRequest, conversation_of, refused
from .sidebar import sidebar_context
from .submissions import Sent

# Messages of a page; earlier ones come as one scrolls up, or are a link away.
PAGE_MESSAGES = 50
# What the address of a page may ask for: `?at=<message>` and so on.
MESSAGES_ASKED = ("at", "edit", "rated", "before", "after")
DEMO_PROVIDERS = ("echo:", "local:")
# (title, prompt) of the buttons under the first composer.
EXAMPLES = (
    (gettext_lazy("Explain why the sky is blue"), gettext_lazy("Explain why the sky is blue.")),
    (
        gettext_lazy("Write a Python function"),
        gettext_lazy("Write a Python function that finds the longest word in a text."),
    ),
    (
        gettext_lazy("Compare tea and coffee"),
        gettext_lazy("Compare tea and coffee in a small table."),
    ),
)


def refusal(
    request: HtmxRequest,
    form: SpokenForm,
    status: int,
    page: Callable[..., HttpResponse],
    *args: Conversation,
) -> HttpResponse:
    """The message's form again with the reason beside it, its text and a fresh key.

    Of another form the reason alone: the composer keeps its text and its key.
    """
    if not request.htmx:
        response = page(request, *args, form)
    elif isinstance(form, MessageForm):
        conversation = args[0] if args else None
        context = _composer_context(request, conversation, form)
        response = render(request, "conversations/_composer.html", context)
        reswap(retarget(response, "#composer"), "outerHTML")
    else:
        response = HttpResponse(escape(form.sentence))
        reswap(retarget(response, "#composer-error"), "innerHTML")
    return refused(response, status)


def keeps_text(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """What was written for a chat that is not there comes back in the composer of a new one.

    A page with a script keeps it itself.
    """

    @wraps(view)
    def answer(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Http404:
            if request.htmx or "content" not in request.POST:
                raise
        form = MessageForm(request.POST)
        form.errors.clear()
        if request.user.is_authenticated:
            sentence = _("This chat no longer exists. Sending from here starts a new one.")
        else:
            sentence = _(
                "You were signed out. Sign in first; sending from here starts a new chat as a "
                "guest."
            )
        form.add_error(None, sentence)
        return refused(start_page(request, form), 404)

    return answer


def acted(
    request: HtmxRequest,
    conversation: Conversation,
    form: MessageForm | None = None,
    *,
    at: Message | None = None,
    gone: Message | None = None,
    **said: Any,
) -> HttpResponse:
    """What the page lacks now; without htmx the page itself, scrolled to the message `at`.

    The page shows `gone` no longer, even if its path had lost it before. `said` is what else the
    templates of what changed are told.
    """
    if not request.htmx:
        place = f"#message-{at.pk}" if at else ""
        return redirect(conversation.get_absolute_url() + place)
    newest = conversation_of(request, conversation.pk)
    return changed(request, newest, ShownForm(request.POST), form, gone, at, **said)


def changed(
    request: HtmxRequest,
    conversation: Conversation,
    shown: ShownForm,
    form: MessageForm | None = None,
    gone: Message | None = None,
    at: Message | None = None,
    **said: Any,
) -> HttpResponse:
    """`form` brings the composer's next key. Nothing else may: a form whose answer was lost must
    be sent again with its own key, or the message would be stored twice.
    """
    if not shown.is_valid():
        return HttpResponse(_("`version` and `leaf` must be whole numbers."), status=400)
    changes = changes_since(
        conversation,
        version=shown.cleaned_data["version"],
        leaf_id=shown.cleaned_data["leaf"],
        first=shown.cleaned_data["first"] or 0,
        last=shown.cleaned_data["last"] or 0,
    )
    context: dict[str, Any] = {"conversation": conversation, "changes": changes, "form": form}
    context |= said | model_context(request, conversation)
    if gone and gone.pk not in changes.removed:
        changes.removed.append(gone.pk)
    drawn = [*changes.changed, *changes.added]
    # Who sends a message reads on at its answer, wherever they were.
    is_left = changes.last and form is not None
    if changes.is_anew or is_left or len(changes.added) > PAGE_MESSAGES:
        context |= {"is_anew": True, **_path_context(request, conversation, at=at)}
        drawn = context["messages_shown"]
    else:
        context |= {"first_shown": changes.first, "last_shown": changes.last}
    newest = (message for message in drawn if message.pk == conversation.leaf_id)
    leaf = next(newest, conversation.leaf)
    context |= _state_context(leaf)
    return render(request, "conversations/_changes.html", context)


def more_messages(
    request: HtmxRequest, conversation: Conversation, shown: ShownForm, *, earlier: bool
) -> HttpResponse:
    """The messages before or after those that a page shows, of the path that it shows.

    What the page has is not looked at: that is for `changed`.
    """
    if not shown.is_valid():
        return HttpResponse(_("`version` and `leaf` must be whole numbers."), status=400)
    asked = shown.cleaned_data
    tree = Tree.of(conversation.pk)
    path = tree.path_to(asked["leaf"])
    first, last = asked["first"] or 0, asked["last"] or 0
    start = path.index(first) if first in path else 0
    stop = path.index(last) + 1 if last in path else len(path)
    if earlier:
        begin, end = max(0, start - PAGE_MESSAGES), start
        start = begin
    else:
        begin, end = stop, min(len(path), stop + PAGE_MESSAGES)
        stop = end
    drawn = tree.messages(path[begin:end])
    # What the page's state says of itself stays: it is not newer for these.
    conversation.version, conversation.leaf_id = asked["version"], asked["leaf"] or None
    context = {
        "conversation": conversation,
        "earlier": earlier,
        "messages_shown": drawn,
        **_window_context(path, start, stop),
    }
    leaf = drawn[-1] if drawn and not earlier and stop == len(path) else None
    return render(request, "conversations/_more_messages.html", context | _state_context(leaf))


def _window_context(path: list[int], start: int, stop: int) -> dict[str, Any]:
    """What a page that shows `path[start:stop]` says of itself; no query."""
    return {
        "first_shown": path[start] if start < len(path) else 0,
        "last_shown": path[stop - 1] if stop < len(path) else 0,
        "earlier_count": start,
        "later_count": len(path) - stop,
    }


def start_page(
    request: HtmxRequest,
    form: SpokenForm,
    deleted: Conversation | None = None,
    deleted_count: int = 1,
) -> HttpResponse:
    """The composer for a new chat; the deletion of `deleted`, of so many chats, can be undone."""
    context = _composer_context(request, None, form)
    context |= {"examples": EXAMPLES, "deleted": deleted, "deleted_count": deleted_count}
    return render_page(request, "start", context)


def chat_page(
    request: HtmxRequest,
    conversation: Conversation,
    form: SpokenForm,
    started: Sent | None = None,
    edit_form: EditForm | None = None,
    queued_form: QueuedForm | None = None,
) -> HttpResponse:
    """The page of a chat; a chat that was `started` just now brings its list entry along.

    `edit_form` stands in the place of its message, `queued_form` in that of a follow-up.
    """
    if started:
        request.user.refresh_from_db(fields=["version"])
        context = sidebar_context(request) | {
            "current_path": conversation.get_absolute_url(),
            "messages_shown": [started.prompt, started.answer],
            "first_shown": started.prompt.pk,
            "last_shown": 0,
        }
    else:
        context = _path_context(request, conversation, edit_form)
    shown = context["messages_shown"]
    context |= _composer_context(request, conversation, form)
    is_whole = shown and not context["last_shown"]
    context |= _state_context(shown[-1] if is_whole else conversation.leaf)
    for queued in context["queue"]:
        if str(queued.pk) == request.GET.get("queued"):
            queued_form = queued_form or QueuedForm(queued)
    context["queued_form"] = queued_form
    return render_page(request, "chat", context)


def _path_context(
    request: HtmxRequest,
    conversation: Conversation,
    edit_form: EditForm | None = None,
    at: Message | None = None,
) -> dict[str, Any]:
    """The messages to show: the newest of the path, or those around one that is asked for.

    A page without a script names the message to edit, the rating to explain, or the message that
    earlier or later ones are asked for, in its address. Two queries.
    """
    tree = Tree.of(conversation.pk)
    path = tree.path_to(conversation.leaf_id)
    asked = {name: _message_in(request, name) for name in MESSAGES_ASKED}
    if at is not None:
        asked["at"] = at.pk
    is_elsewhere = asked["at"] in tree.parents and asked["at"] not in path
    if is_elsewhere:
        # Not stored, by a GET: the page says of itself what it shows, and sends a form.
        path = tree.path_to(tree.newest_leaf(asked["at"]))
        conversation.leaf_id = path[-1]
    if edit_form is not None:
        asked["edit"] = edit_form.message.pk
    start, stop = _window(path, asked)
    shown = tree.messages(path[start:stop])
    for message in shown:
        if edit_form is None and message.pk == asked["edit"] and message.role == Role.USER:
            edit_form = EditForm(message)
    return {
        "messages_shown": shown,
        **_window_context(path, start, stop),
        "switches_to": asked["at"] if is_elsewhere else None,
        "edit_form": edit_form,
        "asks_word": asked["rated"] if asked["rated"] in path else None,
    }


def _window(path: list[int], asked: dict[str, int]) -> tuple[int, int]:
    """Which part of the path a page shows (its start and stop), by the messages `asked` for."""
    places = {name: path.index(pk) for name, pk in asked.items() if pk in path}
    newest = max(0, len(path) - PAGE_MESSAGES)
    if "before" in places:
        return max(0, places["before"] - PAGE_MESSAGES), places["before"] or len(path)
    start = newest
    if "after" in places:
        start = places["after"] + 1
    elif places:
        # A little of what stands before what was jumped to.
        start = max(0, min(places.values()) - PAGE_MESSAGES // 5)
    if start >= newest:
        # It reaches the end: as much as fits.
        return newest, len(path)
    return start, start + PAGE_MESSAGES


def _message_in(request: HtmxRequest, name: str) -> int:
    """The message that the page's address asks for by `name`, 0 for none."""
    pk = request.GET.get(name, "")
    return int(pk) if pk.isascii() and pk.isdigit() and len(pk) < 19 else 0


def render_page(request: HtmxRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    """The whole page, or its main part alone when htmx puts it into a page that stands."""
    if request.htmx and not request.htmx.history_restore_request:
        return render(request, f"conversations/_{name}.html", context)
    if request.user.is_authenticated:
        context |= sidebar_context(request)
    return render(request, f"conversations/{name}.html", context)


def _composer_context(
    request: HtmxRequest, conversation: Conversation | None, form: SpokenForm
) -> dict[str, Any]:
    return {
        "form": form,
        "conversation": conversation,
        "message_limit": settings.MESSAGE_MAX_CHARS,
        # Only a new chat begins with one.
        "personas": [] if conversation else Persona.objects.filter(owner=request.user.pk),
        **model_context(request, conversation),
    }


def model_context(request: HtmxRequest, conversation: Conversation | None) -> dict[str, Any]:
    """The models to choose from; `model` is None when the conversation's own is gone."""
    models = preferences.models_of(request.user)
    by_id = {choice.id: choice for choice in models}

    def choice_of(model_id: str) -> ModelChoice | None:
        return by_id.get(model_id) or providers.choice(model_id)

    chosen = preferences.defaults_of(request.user.pk).model
    default = choice_of(chosen) if chosen else None
    default = default or providers.choice(providers.default_model_id())
    wanted = conversation.model if conversation else ""
    model = choice_of(wanted) if wanted else default
    return {
        "models": models,
        "default_model": default,
        "model": model,
        "is_demo": model is not None and model.id.startswith(DEMO_PROVIDERS),
    }


def _state_context(leaf: Message | None) -> dict[str, Any]:
    """Whether the newest message runs, by the row that the page draws: it follows what it shows.

    By a row read a moment earlier a page could offer to stop an answer that it shows as ended. And
    what waits for its end; one query.
    """
    running = leaf is not None and leaf.stream is not None and leaf.stream.is_open
    return {"running": leaf if running else None, "queue": list(leaf.queued.all()) if leaf else []}

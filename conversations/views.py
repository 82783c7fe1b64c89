"""The chat's pages and forms: plain HTML first, fragments of the same templates for htmx."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.html import escape
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url, reswap, retarget
from django_htmx.middleware import HtmxDetails

from streaming.exceptions import is_storage_failure

from . import actions, providers
from .exceptions import Refused
from .forms import DeletedForm, EditForm, KeyForm, MessageForm, ModelForm, ShownForm, SpokenForm
from .keeping import restorable
from .models import Conversation, Message, Role
from .paths import Tree, changes_since
from .sidebar import sidebar_context
from .submissions import Sent

# Messages of a page; earlier ones are one click away.
PAGE_MESSAGES = 100
RETRY_AFTER_SECONDS = 2
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

T = TypeVar("T")


class HtmxRequest(HttpRequest):
    """A request as the middlewares leave it."""

    user: Any
    htmx: HtmxDetails


def private(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """No cache keeps what the view answers; it differs by person and between page and fragment."""

    @wraps(view)
    def answer(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        patch_cache_control(response, private=True, no_store=True)
        patch_vary_headers(response, ["Cookie", "HX-Request"])
        return response

    return answer


# --- Pages


@private
@require_safe
def conversation_list(request: HtmxRequest) -> HttpResponse:
    """The start page, for everybody: a composer for a new chat, beside the list of chats.

    `?deleted=<id>` offers to undo that deletion, to whom no script does.
    """
    form = DeletedForm(request.GET)
    deleted = restorable(request.user, form.cleaned_data["deleted"]) if form.is_valid() else None
    return _start_page(request, MessageForm(), deleted)


@private
@require_safe
def conversation_detail(request: HtmxRequest, pk: UUID) -> HttpResponse:
    return _chat_page(request, _conversation(request, pk), MessageForm())


@private
@require_GET
def conversation_changes(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """What a page lacks that shows `leaf` as of `version`, as out-of-band fragments."""
    return _changes(request, _conversation(request, pk), ShownForm(request.GET))


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

    sent, status = _submit(form, start)
    if sent is None:
        return _refusal(request, form, status, _start_page)
    if not request.htmx:
        return redirect(sent.conversation)
    if newcomer:
        # Another person's page needs another CSRF token and another socket: load it whole.
        return HttpResponseClientRedirect(sent.conversation.get_absolute_url())
    response = _chat_page(request, sent.conversation, MessageForm(), sent)
    push_url(response, sent.conversation.get_absolute_url())
    return reswap(retarget(response, "#main"), "outerHTML")


@private
@require_POST
def message_create(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = _conversation(request, pk)
    form = MessageForm(request.POST)

    def send() -> Sent:
        content, key = form.cleaned_data["content"], form.cleaned_data["key"]
        return actions.send_message(conversation, content, key=key)

    sent, status = _submit(form, send)
    if sent is None:
        return _refusal(request, form, status, _chat_page, conversation)
    return _acted(request, conversation, form=MessageForm())


@private
@require_POST
def message_retry(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = _answer(request, pk)
    form = KeyForm(request.POST)
    retried, status = _submit(form, lambda: actions.retry(answer, **form.cleaned_data))
    if retried is None:
        return _refusal(request, form, status, _chat_page, answer.conversation)
    return _acted(request, answer.conversation)


@private
@require_POST
def message_continue(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = _answer(request, pk)
    form = KeyForm(request.POST)
    continued, status = _submit(form, lambda: actions.continue_answer(answer, **form.cleaned_data))
    if continued is None:
        return _refusal(request, form, status, _chat_page, answer.conversation)
    return _acted(request, answer.conversation)


@private
@require_POST
def message_stop(request: HtmxRequest, pk: int) -> HttpResponse:
    answer = _answer(request, pk)
    actions.stop(answer)
    return _acted(request, answer.conversation)


@private
@require_POST
def conversation_model(request: HtmxRequest, pk: UUID) -> HttpResponse:
    conversation = _conversation(request, pk)
    form = ModelForm(request.POST)

    def choose() -> bool:
        actions.set_model(conversation, form.cleaned_data["model"])
        return True

    chosen, status = _submit(form, choose)
    if chosen is None:
        return _refusal(request, form, status, _chat_page, conversation)
    if not request.htmx:
        return redirect(conversation)
    context = {"conversation": conversation, "form": form, **_model_context(conversation)}
    return render(request, "conversations/_model_chosen.html", context)


# --- Their parts


def _conversation(request: HtmxRequest, pk: UUID) -> Conversation:
    """The look-up through the user is the permission: a stranger's 404 is that of a wrong id."""
    conversations = Conversation.objects.owned_by(request.user)
    return get_object_or_404(conversations.select_related("leaf__stream"), pk=pk)


def _answer(request: HtmxRequest, pk: int) -> Message:
    answers = Message.objects.filter(
        role=Role.ASSISTANT,
        conversation__owner=request.user.pk,
        conversation__deleted_at__isnull=True,
    )
    return get_object_or_404(
        answers.select_related("conversation__owner", "stream", "parent"), pk=pk
    )


def _submit(form: SpokenForm, act: Callable[[], T]) -> tuple[T | None, int]:
    """The result of `act` for a valid form, else None; and the status of the answer.

    A refusal becomes an error of the form, and so does a database that stays locked or is full.
    """
    if not form.is_valid():
        return None, 422
    try:
        return act(), 200
    except Refused as refusal:
        form.add_error(None, str(refusal))
        return None, 422
    except OperationalError as error:
        if is_storage_failure(error):
            sentence = _(
                "The server cannot store anything now. Your text is still here: try again."
            )
        elif "locked" in str(error):
            sentence = _("The server is busy. Your text is still here: try again.")
        else:
            raise
        form.add_error(None, sentence)
        return None, 503


def _refusal(
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
        context = _composer_context(conversation, form)
        response = render(request, "conversations/_composer.html", context)
        reswap(retarget(response, "#composer"), "outerHTML")
    else:
        response = HttpResponse(escape(form.sentence))
        reswap(retarget(response, "#composer-error"), "innerHTML")
    return _refused(response, status)


def _refused(response: HttpResponse, status: int) -> HttpResponse:
    response.status_code = status
    if status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _acted(
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
    newest = _conversation(request, conversation.pk)
    return _changes(request, newest, ShownForm(request.POST), form, gone, **said)


def _changes(
    request: HtmxRequest,
    conversation: Conversation,
    shown: ShownForm,
    form: MessageForm | None = None,
    gone: Message | None = None,
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
    )
    context: dict[str, Any] = {"conversation": conversation, "changes": changes, "form": form}
    context |= said
    if gone and gone.pk not in changes.removed:
        changes.removed.append(gone.pk)
    drawn = [*changes.changed, *changes.added]
    if changes.is_anew or len(changes.added) > PAGE_MESSAGES:
        context |= {"is_anew": True, **_path_context(request, conversation)}
        drawn = context["messages_shown"]
    else:
        context["first_shown"] = changes.first
    newest = (message for message in drawn if message.pk == conversation.leaf_id)
    leaf = next(newest, conversation.leaf)
    return render(request, "conversations/_changes.html", context | _state_context(leaf))


def _start_page(
    request: HtmxRequest, form: SpokenForm, deleted: Conversation | None = None
) -> HttpResponse:
    context = _composer_context(None, form) | {"examples": EXAMPLES, "deleted": deleted}
    return _page(request, "start", context)


def _chat_page(
    request: HtmxRequest,
    conversation: Conversation,
    form: SpokenForm,
    started: Sent | None = None,
    edit_form: EditForm | None = None,
) -> HttpResponse:
    """The page of a chat; a chat that was `started` just now brings its list entry along.

    `edit_form` stands in the place of its message.
    """
    if started:
        request.user.refresh_from_db(fields=["version"])
        context = sidebar_context(request) | {
            "current_path": conversation.get_absolute_url(),
            "messages_shown": [started.prompt, started.answer],
            "first_shown": started.prompt.pk,
        }
    else:
        context = _path_context(request, conversation, edit_form)
    shown = context["messages_shown"]
    context |= _composer_context(conversation, form)
    context |= _state_context(shown[-1] if shown else None)
    return _page(request, "chat", context)


def _path_context(
    request: HtmxRequest, conversation: Conversation, edit_form: EditForm | None = None
) -> dict[str, Any]:
    """The messages to show, the newest of the path unless all were asked for; two queries.

    A page without a script names the message to edit, or the rating to explain, in its address.
    """
    tree = Tree.of(conversation.pk)
    path = tree.path_to(conversation.leaf_id)
    at = _message_in(request)
    if at in tree.parents and at not in path:
        path = tree.path_to(tree.newest_leaf(at))
        # Not stored: the page says of itself what it shows, and goes on from there.
        conversation.leaf_id = path[-1]
    first = 0 if "all" in request.GET else max(0, len(path) - PAGE_MESSAGES)
    edited = [pk for pk in path if str(pk) == request.GET.get("edit")]
    for pk in (at, *edited):
        if pk in path:
            first = min(first, path.index(pk))
    shown = tree.messages(path[first:])
    for message in shown:
        if message.pk in edited and message.role == Role.USER:
            edit_form = EditForm(message)
    rated = [pk for pk in path if str(pk) == request.GET.get("rated")]
    return {
        "messages_shown": shown,
        "first_shown": shown[0].pk if shown else 0,
        "earlier_count": first,
        "edit_form": edit_form,
        "asks_word": rated[0] if rated else None,
    }


def _message_in(request: HtmxRequest) -> int:
    """The message `?at=<id>` that the page is to show, 0 for none."""
    at = request.GET.get("at", "")
    return int(at) if at.isascii() and at.isdigit() and len(at) < 19 else 0


def _page(request: HtmxRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    """The whole page, or its main part alone when htmx puts it into a page that stands."""
    if request.htmx and not request.htmx.history_restore_request:
        return render(request, f"conversations/_{name}.html", context)
    if request.user.is_authenticated:
        context |= sidebar_context(request)
    return render(request, f"conversations/{name}.html", context)


def _composer_context(conversation: Conversation | None, form: SpokenForm) -> dict[str, Any]:
    return {
        "form": form,
        "conversation": conversation,
        "message_limit": settings.MESSAGE_MAX_CHARS,
        **_model_context(conversation),
    }


def _model_context(conversation: Conversation | None) -> dict[str, Any]:
    """The models to choose from; `model` is None when the conversation's own is gone."""
    default = providers.choice(providers.default_model_id())
    wanted = conversation.model if conversation else ""
    model = providers.choice(wanted) if wanted else default
    return {
        "models": providers.models(),
        "default_model": default,
        "model": model,
        "is_demo": model is not None and model.id.startswith(DEMO_PROVIDERS),
    }


def _state_context(leaf: Message | None) -> dict[str, Any]:
    """Whether the newest message runs, by the row that the page draws: it follows what it shows.

    By a row read a moment earlier a page could offer to stop an answer that it shows as ended.
    """
    running = leaf is not None and leaf.stream is not None and leaf.stream.is_open
    return {"running": leaf if running else None}

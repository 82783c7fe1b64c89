"""What a person can do in a chat: each verb is one transaction, with effects on its commit."""

from __future__ import annotations

import re
from typing import Any, cast
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from streaming import actions as streams
from streaming.models import Stream

from . import own_keys, personas, preferences
from .exceptions import CannotContinue, Deleted, QueueFull, StillRunning, UnknownModel
from .models import Conversation, Message, Role
from .submissions import Queued, Sent, once, sent_or_queued, sent_with
from .topics import conversation_changed, list_changed

GENERATOR = "conversations.reply"
TITLE_CHARS = 60
QUEUE_MAX_MESSAGES = 10
# Markdown at the start of a line: a heading, a quote, a list item; the whole line of a fence.
MARKUP = re.compile(r"^(#{1,6}\s+|>\s*|[-*+]\s+|[`~]{3,}.*$)+")


def start_conversation(
    user: Any, content: str, *, key: UUID, model: str = "", persona: int | None = None
) -> Sent:
    """Store a new conversation of `user` with its first message and an answer that starts.

    `model` is an id of the registry; empty means the person's default. `persona` is the pk of a
    saved prompt of theirs, which becomes the chat's. The same `key` again returns the same rows.
    Raises KeyReused, UnknownModel, UnknownPersona.
    """
    _check_model(user, model)
    system_prompt = personas.prompt_of(user, persona) if persona else ""

    def write() -> Sent:
        # Nobody else knows it yet: what `conversation_changed` does for an older one is not needed.
        conversation = Conversation.objects.create(
            owner=user,
            title=title_from(content),
            model=model,
            system_prompt=system_prompt,
            version=1,
        )
        list_changed(user.pk)
        return ask(conversation, content, version=1, parent=None)

    body = ("start", content, model, *([str(persona)] if persona else []))
    return once(user, key, body, write, again=sent_with)


def send_message(
    conversation: Conversation, content: str, *, key: UUID, may_wait: bool = True
) -> Sent | Queued:
    """Store the user's message under the newest answer, and an answer that starts.

    While the newest answer runs a message that `may_wait` is queued instead, and sent when that is
    done. The same `key` again returns the same rows. Raises KeyReused; Deleted; QueueFull;
    StillRunning while an answer runs that it does not wait for.
    """

    def write() -> Sent | Queued:
        version = conversation_changed(conversation.pk)
        refresh(conversation)
        leaf = conversation.leaf
        if may_wait and leaf and leaf.stream and leaf.stream.is_open:
            return _queue(leaf, content)
        refuse_while_running(conversation)
        sent = ask(conversation, content, version, parent=leaf)
        if leaf:
            # What waited for a person goes on waiting, behind what that person sent first.
            leaf.queued.update(answer=sent.answer)
        return sent

    body = ("send", str(conversation.pk), content)
    return once(conversation.owner, key, body, write, again=sent_or_queued)


def edit_message(prompt: Message, content: str, *, key: UUID) -> Sent:
    """Ask again in other words: store a sibling of the user's message `prompt`, and an answer.

    What followed `prompt` stays as another branch. The same `key` again returns the same rows.
    Raises KeyReused; Deleted; StillRunning while an answer of the conversation runs.
    """

    def write() -> Sent:
        conversation = prompt.conversation
        version = conversation_changed(conversation.pk)
        refuse_while_running(conversation)
        return ask(conversation, content, version, parent=prompt.parent)

    body = ("edit", str(prompt.pk), content)
    return once(prompt.conversation.owner, key, body, write, again=sent_with)


def retry(message: Message, *, key: UUID) -> Message:
    """Answer again: store a sibling of the answer `message`, which becomes the page's newest.

    The same `key` again returns the same answer. Raises KeyReused; Deleted; StillRunning while an
    answer of the conversation runs.
    """

    def write() -> Message:
        conversation = message.conversation
        version = conversation_changed(conversation.pk)
        refuse_while_running(conversation)
        answer = start_answer(conversation, message.parent, version)
        message.queued.update(answer=answer)
        return answer

    body = ("retry", str(message.pk))
    return once(message.conversation.owner, key, body, write, again=lambda answer: answer)


def continue_answer(message: Message, *, key: UUID) -> Message:
    """Let the newest answer, which ended too early, go on in the same message.

    The conversation's model writes on, or the one that began if the conversation names none. The
    same `key` again returns the same answer. Raises KeyReused; Deleted; StillRunning while an
    answer of the conversation runs; CannotContinue.
    """

    def write() -> Message:
        conversation = message.conversation
        version = conversation_changed(conversation.pk)
        refuse_while_running(conversation)
        # As it is now: while the form was on its way another tab may have continued it.
        answer = conversation.leaf
        if answer is None or answer.pk != message.pk or not answer.can_continue:
            raise CannotContinue(_("This answer cannot be continued. Retry it instead."))
        answer.model = _model_to_continue(conversation, answer)
        # What the earlier parts cost; the end adds what this one does.
        params = _params(conversation, answer.model) | {"usage": answer.usage}
        stream = streams.resume(cast("Stream", answer.stream), params)
        if stream is None:
            raise CannotContinue(_("This answer cannot be continued. Retry it instead."))
        answer.stream, answer.version = stream, version
        answer.content = answer.reasoning = ""
        answer.save(update_fields=["stream", "content", "reasoning", "model", "version"])
        conversation.last_message_at = timezone.now()
        conversation.save(update_fields=["last_message_at"])
        return answer

    body = ("continue", str(message.pk))
    return once(message.conversation.owner, key, body, write, again=lambda answer: answer)


def stop(message: Message) -> bool:
    """End the answer where it stands; False when it had already ended."""
    return message.stream is not None and streams.stop(message.stream)


def rate(answer: Message, rating: str, word: str = "") -> None:
    """Keep what its owner thinks of an answer, and why; an empty rating takes both back."""
    with transaction.atomic():
        answer.rating_version = conversation_changed(answer.conversation_id)
        answer.rating, answer.rating_word = rating, word if rating else ""
        answer.save(update_fields=["rating", "rating_word", "rating_version"])


def set_model(conversation: Conversation, model: str) -> None:
    """Let `model` give the conversation's next answers. Raises UnknownModel."""
    _check_model(conversation.owner, model)
    with transaction.atomic():
        conversation.model = model
        conversation.save(update_fields=["model"])
        conversation_changed(conversation.pk)


def set_options(
    conversation: Conversation, model: str, system_prompt: str, parameters: dict[str, Any]
) -> None:
    """What the conversation's next answers are asked with; empty is the person's default.

    A model that is gone may stay. Raises UnknownModel.
    """
    if model != conversation.model:
        _check_model(conversation.owner, model)
    with transaction.atomic():
        conversation.model = model
        conversation.system_prompt = system_prompt
        conversation.parameters = parameters
        conversation.save(update_fields=["model", "system_prompt", "parameters"])
        conversation_changed(conversation.pk)


def title_from(content: str) -> str:
    """The first line of a first message that says something as a title, cut at a word."""
    lines = (MARKUP.sub("", line.strip()) for line in content.splitlines())
    line = next((line for line in lines if line), " ".join(content.split()))
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[: TITLE_CHARS + 1].rsplit(None, 1)[0][:TITLE_CHARS].rstrip()
    return f"{cut}…"


def ask(conversation: Conversation, content: str, version: int, *, parent: Message | None) -> Sent:
    """Store a prompt, and an answer to it as `start_answer` does; for actions as well."""
    prompt = Message.objects.create(
        conversation=conversation,
        parent=parent,
        role=Role.USER,
        content=content,
        version=version,
    )
    return Sent(prompt, start_answer(conversation, prompt, version))


def start_answer(conversation: Conversation, prompt: Message | None, version: int) -> Message:
    """Store an answer to `prompt` that starts after the commit, and make it the page's newest.

    For actions, within their transaction.
    """
    model = conversation.model or preferences.default_model_id(conversation.owner)
    answer = Message.objects.create(
        conversation=conversation,
        parent=prompt,
        role=Role.ASSISTANT,
        stream=streams.create(GENERATOR, _params(conversation, model), owner=conversation.owner),
        model=model,
        version=version,
    )
    conversation.leaf = answer
    conversation.last_message_at = timezone.now()
    conversation.save(update_fields=["leaf", "last_message_at"])
    return answer


def _params(conversation: Conversation, model: str) -> dict[str, Any]:
    """What the generator is told; of a key of the person's own its row, never the key.

    What is pushed about the answer speaks as the page that asked for it.
    """
    own = own_keys.params_of(conversation.owner_id, model)
    return {"model": model, "language": get_language(), **own}


def _model_to_continue(conversation: Conversation, answer: Message) -> str:
    """The chosen model; without a choice the one that began, as long as it is offered."""
    if conversation.model:
        return conversation.model
    if preferences.choice_of(conversation.owner, answer.model):
        return answer.model
    return preferences.default_model_id(conversation.owner)


def _queue(answer: Message, content: str) -> Queued:
    if answer.queued.count() >= QUEUE_MAX_MESSAGES:
        raise QueueFull(
            _("%(count)s messages are already waiting. Wait until one is sent, or withdraw one.")
            % {"count": QUEUE_MAX_MESSAGES}
        )
    answer.queued.create(content=content)
    return Queued(answer)


def refresh(conversation: Conversation) -> None:
    """Read the newest state under the lock that `conversation_changed` took. Raises Deleted."""
    conversation.refresh_from_db(
        fields=["leaf", "version", "model", "deleted_at"],
        from_queryset=Conversation.objects.select_related("leaf__stream"),
    )
    if conversation.deleted_at:
        raise Deleted(_("This chat was deleted."))


def refuse_while_running(conversation: Conversation) -> None:
    """Read the newest state as `refresh` does. Raises Deleted, StillRunning."""
    refresh(conversation)
    leaf = conversation.leaf
    if leaf and leaf.stream and leaf.stream.is_open:
        raise StillRunning(_("An answer is still running. Stop it, or wait until it has ended."))
    if Stream.objects.open().filter(message__conversation=conversation.pk).exists():
        raise StillRunning(
            _(
                "An answer is still running in another version of this chat. Switch back to it to "
                "stop it, or wait until it has ended."
            )
        )


def _check_model(user: Any, model: str) -> None:
    if model and preferences.choice_of(user, model) is None:
        raise UnknownModel.of(model)

"""How an answer is made: the path of messages goes to the provider, its text comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from streaming.exceptions import StreamFailed
from streaming.executors import run_generator
from streaming.generators import End
from streaming.models import EndReason, Status, Stream

from . import own_keys, preferences, providers, queueing, titles
from .context import TooLong, fit
from .models import Conversation, Message, Role
from .paths import Tree, messages_of
from .providers.base import (
    ChatRequest,
    Finished,
    ModelChoice,
    Provider,
    ProviderError,
    Reasoning,
    Text,
    Turn,
    Usage,
)
from .reasoning import Marker, joined, seconds_of, split
from .titles import TURN_CHARS
from .topics import list_changed

TOO_LONG = _("The message is too long for this model. Shorten it, or choose another model.")
TOO_LONG_TO_CONTINUE = _(
    "The answer so far is too long for this model to continue it. Choose another model."
)
# For the model, which gets it in whatever language the chat is.
GO_ON = (
    "Your last message was cut off. Continue it exactly where it stops, in the same language and "
    "formatting. Begin with the very next character, with a space or a line break first if one "
    "belongs there. Repeat nothing, and add no introduction or comment."
)


@dataclass(frozen=True)
class Plan:
    """What the provider of one answer is asked, before it is cut to the model's context."""

    conversation_id: UUID
    model: str
    turns: list[Turn]
    system: str
    parameters: dict[str, Any]


def plan_of(stream: Stream) -> Plan:
    """Read the path of messages that the answer of `stream` answers; queries."""
    answer = Message.objects.select_related("conversation").get(stream=stream.pk)
    conversation = answer.conversation
    defaults = preferences.defaults_of(conversation.owner_id)
    path = Tree.of(conversation.pk).path_to(answer.parent_id)
    turns = [Turn(turn.role, turn.content) for turn in messages_of(path) if turn.content]
    return Plan(
        conversation.pk,
        answer.model,
        turns,
        conversation.system_prompt or defaults.system_prompt,
        defaults.parameters | conversation.parameters,
    )


async def generate(
    stream: Stream, params: dict[str, Any], committed: str
) -> AsyncIterator[str | End]:
    """Ask the answer's model and yield its text; `committed` is what stands in the message already,
    from a run that was cut or from before a person asked to continue.

    Raises StreamFailed with a sentence for people, also when the provider's explicit end is
    missing.
    """
    plan = await run_generator(plan_of, stream)
    is_own = own_keys.is_own(plan.model)
    try:
        if is_own:
            provider, name, choice = await run_generator(own_keys.provider_for, stream, plan.model)
        else:
            provider, name, choice = _of_the_site(plan.model)
        carries_on = provider.carries_on
        _reasoning, answered = split(committed)
        request, left_out = _request(plan, name, choice, answered, carries_on=carries_on)
        usage: Usage | None = None
        marker = Marker(committed)
        opening = answered[:TURN_CHARS]
        async with aclosing(provider.stream(request)) as events:
            async for event in events:
                match event:
                    case Text():
                        opening += event.text[: TURN_CHARS - len(opening)]
                        yield marker.said(event.text)
                    case Reasoning():
                        # Also without text: a model that thinks has not fallen silent.
                        yield marker.thought(event.text)
                    case Usage():
                        usage = event
                    case Finished():
                        if len(plan.turns) == 1:
                            titles.begin(
                                plan.conversation_id, plan.model, plan.turns[0].content, opening
                            )
                        yield End(event.reason, _result(plan.model, usage, left_out))
                        return
    except ProviderError as error:
        detail = error.detail
        if is_own and error.code == EndReason.REFUSED:
            detail = str(own_keys.REFUSED)
        raise StreamFailed(error.code, detail) from error
    raise StreamFailed(EndReason.CUT)


def _of_the_site(model: str) -> tuple[Provider, str, ModelChoice]:
    provider, name = providers.provider_for(model)
    choice = providers.choice(model)
    assert choice is not None  # the registry gave its provider
    return provider, name, choice


def _request(
    plan: Plan, name: str, choice: ModelChoice, committed: str, *, carries_on: bool
) -> tuple[ChatRequest, int]:
    room = choice.context_tokens - choice.answer_tokens
    go_on = [] if carries_on else _go_on(committed)
    # What is asked of those who do not carry on takes its room as well.
    prefix = "".join(turn.content for turn in go_on) or committed
    try:
        fitted = fit(plan.turns, tokens=room, system=plan.system, prefix=prefix)
    except TooLong:
        sentence = TOO_LONG_TO_CONTINUE if committed else TOO_LONG
        raise StreamFailed(EndReason.TOO_LONG, sentence) from None
    request = ChatRequest(
        model=name,
        turns=[*fitted.turns, *go_on],
        system=plan.system,
        parameters=plan.parameters,
        prefix=committed if carries_on else "",
    )
    return request, fitted.left_out


def _go_on(committed: str) -> list[Turn]:
    """The turns that let a model write on which cannot take a final assistant message up."""
    if not committed.strip():
        # White space is nothing to go on from, and some providers refuse it as a turn.
        return []
    return [Turn(Role.ASSISTANT, committed), Turn(Role.USER, GO_ON)]


def _result(model: str, usage: Usage | None, left_out: int) -> dict[str, Any]:
    return {
        "model": model,
        "usage": asdict(usage) if usage else {},
        "left_out": left_out,
    }


def store(stream: Stream, text: str) -> dict[str, int]:
    """Put the ended stream's text into its message; the hook of the end, safe to repeat.

    The versions of message and conversation stay: every page that shows them follows the stream.
    Unless a follow-up is queued: it is sent, or waits for a person.
    The owner's list changes (its running mark, and its unread one until a page says that it shows
    the end), which such a page knows as well.
    """
    message = _message_of(stream)
    if message is None:
        return {}
    earlier, usage = stream.params.get("usage"), stream.result.get("usage", {})
    if earlier:
        usage = _sum(earlier, usage)
    reasoning, content = split(text)
    seconds = message.reasoning_seconds
    if reasoning and seconds is None:
        seconds = seconds_of(stream)
    # As the foot of the page that shows the end tells it.
    message.reasoning_seconds = seconds
    Message.objects.filter(pk=message.pk).update(
        content=content, reasoning=reasoning, reasoning_seconds=seconds, usage=usage
    )
    # Before the list: the order in which `conversation_changed` locks the two.
    Conversation.objects.visible().filter(pk=message.conversation_id).update(is_unread=True)
    # Under that lock: what is queued later finds an answer that has ended.
    if message.queued.exists():
        queueing.advance(message, is_done=stream.status == Status.DONE)
        # Pages have something to fetch.
        return {}
    return {f"user:{stream.owner_id}": list_changed(stream.owner_id)}


def _sum(earlier: dict[str, int], newer: dict[str, int]) -> dict[str, int]:
    """Token counts of an answer that was continued: what its parts cost."""
    return {name: earlier.get(name, 0) + newer.get(name, 0) for name in earlier | newer}


def kept_text(stream: Stream) -> str | None:
    """What the ended stream's message keeps of it."""
    message = _message_of(stream)
    return joined(message.reasoning, message.content) if message else None


def may_read(user: Any, stream: Stream) -> bool:
    """The owner of the conversation, and staff who may view messages in the admin."""
    return may_stop(user, stream) or (
        user.is_authenticated and user.is_staff and user.has_perm("conversations.view_message")
    )


def may_stop(user: Any, stream: Stream) -> bool:
    """The owner of the conversation, as long as it is not deleted."""
    if not _relation().is_cached(stream):
        # A crowd of pages that come back asks this: no more than it takes to know.
        mine = Conversation.objects.owned_by(user)
        return mine.filter(messages__stream=stream.pk).exists()
    message = _message_of(stream)
    if message is None:
        return False
    conversation = message.conversation
    return conversation.owner_id == user.pk and conversation.deleted_at is None


def _message_of(stream: Stream) -> Message | None:
    """The answer whose text the stream is; one query, none if it was loaded with its stream."""
    relation = _relation()
    if not relation.is_cached(stream):
        messages = Message.objects.select_related("conversation")
        message = messages.filter(stream=stream.pk).first()
        relation.set_cached_value(stream, message)
        if message is not None:
            message.stream = stream
    return cast("Message | None", relation.get_cached_value(stream))


def _relation() -> Any:
    return Stream._meta.get_field("message")


def carries_on(stream: Stream) -> bool:
    """Whether the answer's provider can go on after text that is already stored; no query."""
    try:
        provider, _name = providers.provider_for(stream.params["model"])
    except ProviderError:
        return False
    return provider.carries_on


def foot_context(stream: Stream) -> dict[str, Any]:
    """What the foot template needs beside the stream; of an open one nothing."""
    return {} if stream.is_open else {"message": _message_of(stream)}


def language(stream: Stream) -> str:
    """The language that the owner chose, else that of the page that asked for the answer."""
    chosen = getattr(stream.owner, "language", "")
    return chosen or stream.params.get("language") or settings.LANGUAGE_CODE

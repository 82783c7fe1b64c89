"""Follow-ups that were written while an answer ran: rows that are sent without a browser."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _

from . import actions
from .exceptions import NotQueued
from .models import Conversation, Message, QueuedMessage
from .submissions import Sent, once, sent_with
from .topics import conversation_changed


def advance(answer: Message, *, is_done: bool) -> None:
    """Send the oldest follow-up of an answer that is done; the others wait for its answer.

    After another end all wait for a person, and pages say so. For the hook of the end, in its
    transaction and under its lock on the conversation.
    """
    version = conversation_changed(answer.conversation_id)
    if not is_done:
        return
    conversation = Conversation.objects.get(pk=answer.conversation_id)
    shown = conversation.leaf_id
    said = answer.stream.params.get("language") if answer.stream else None
    # There is no page here; the next answer speaks as the one before.
    with translation.override(said or settings.LANGUAGE_CODE):
        _send(answer.queued.all()[0], conversation, version)
    if shown != answer.pk:
        # The person reads another branch by now, and stays there.
        Conversation.objects.filter(pk=conversation.pk).update(leaf=shown)


def send_now(queued: QueuedMessage, *, key: UUID) -> Sent:
    """Send a follow-up that waits for a person; the others wait for its answer.

    The same `key` again returns the same rows. Raises KeyReused; Deleted; NotQueued; StillRunning
    while an answer of the conversation runs.
    """
    conversation = queued.answer.conversation

    def write() -> Sent:
        version = conversation_changed(conversation.pk)
        actions.refuse_while_running(conversation)
        return _send(_newest(queued), conversation, version)

    return once(conversation.owner, key, ("send-queued", str(queued.pk)), write, again=sent_with)


def edit(queued: QueuedMessage, content: str, *, edition: int) -> None:
    """Give a follow-up another text, as who saw its `edition`. Raises NotQueued."""
    with transaction.atomic():
        conversation_changed(queued.answer.conversation_id)
        mine = QueuedMessage.objects.filter(pk=queued.pk, edition=edition)
        if not mine.update(content=content, edition=edition + 1):
            _newest(queued)
            raise NotQueued(
                _(
                    "This message was changed in another tab. Your text is still here; save it to "
                    "replace that version."
                )
            )


def withdraw(queued: QueuedMessage) -> None:
    """Take a follow-up back. Raises NotQueued."""
    with transaction.atomic():
        conversation_changed(queued.answer.conversation_id)
        _newest(queued).delete()


def _send(queued: QueuedMessage, conversation: Conversation, version: int) -> Sent:
    answer = queued.answer
    sent = actions.ask(conversation, queued.content, version, parent=answer)
    queued.delete()
    answer.queued.update(answer=sent.answer)
    return sent


def _newest(queued: QueuedMessage) -> QueuedMessage:
    """As it is now, under the conversation's lock. Raises NotQueued."""
    newest = QueuedMessage.objects.select_related("answer").filter(pk=queued.pk).first()
    if newest is None:
        raise NotQueued(gone_sentence())
    return newest


def gone_sentence() -> str:
    return _("This message was sent or withdrawn in the meantime.")

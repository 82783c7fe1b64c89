"""What a person can do with the tree of a chat: show another branch, and take one along."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from .actions import start_answer
from .exceptions import Deleted, StillRunning
from .models import TITLE_MAX_CHARS, Conversation, Message, Role
from .paths import Tree, messages_of
from .submissions import once
from .topics import conversation_changed, list_changed


def show_branch(message: Message) -> None:
    """Let every page of the conversation show the newest branch through `message`.

    An answer that runs in another branch runs on there. Raises Deleted.
    """
    with transaction.atomic():
        conversation_changed(message.conversation_id)
        conversation = _visible(message)
        tree = Tree.of(conversation.pk)
        if message.pk not in tree.path_to(conversation.leaf_id):
            conversation.leaf_id = tree.newest_leaf(message.pk)
            conversation.save(update_fields=["leaf"])


def fork(message: Message, *, key: UUID) -> Message:
    """Store a new conversation with copies of the path to `message`; return its newest message.

    Its owner is the same, and so are its model and settings. A copied prompt gets a new answer,
    which starts; a copied answer stands as it is. The same `key` again returns the same message.
    Raises KeyReused; Deleted; StillRunning when an answer of the path has not ended.
    """
    owner = message.conversation.owner

    def write() -> Message:
        original = _visible(message)
        path = messages_of(Tree.of(original.pk).path_to(message.pk))
        if any(not one.is_whole for one in path):
            raise StillRunning(_("An answer is still running. Wait until it has ended."))
        conversation = Conversation.objects.create(
            owner=owner,
            title=_title_of_fork(original),
            model=original.model,
            system_prompt=original.system_prompt,
            parameters=original.parameters,
            version=1,
        )
        newest = _copy(path, conversation)
        if newest.role == Role.USER:
            newest = start_answer(conversation, newest, version=1)
        else:
            conversation.leaf = newest
            conversation.save(update_fields=["leaf"])
        list_changed(owner.pk)
        return newest

    return once(owner, key, ("fork", str(message.pk)), write, again=lambda newest: newest)


def _copy(path: list[Message], conversation: Conversation) -> Message:
    """Copy a path into an empty conversation; the copy of its end. Three statements, any length."""
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            role=one.role,
            content=one.content,
            reasoning=one.reasoning,
            reasoning_seconds=one.reasoning_seconds,
            model=one.model,
            usage=one.usage,
            created_at=one.created_at,
        )
        for one in path
    )
    copies = Message.objects.filter(conversation=conversation)
    # They are a chain: each answers the one that was stored before it.
    before = Message.objects.filter(conversation=conversation, pk__lt=OuterRef("pk"))
    copies.update(parent=Subquery(before.order_by("-pk").values("pk")[:1]))
    newest = copies.latest("pk")
    newest.conversation = conversation
    return newest


def _title_of_fork(original: Conversation) -> str:
    """The title with a mark, one however often it is forked."""
    mark = _("Fork of %(title)s")
    title = str(original)
    before, after = (mark % {"title": "\0"}).split("\0")
    if not (title.startswith(before) and title.endswith(after)):
        title = mark % {"title": title}
    return title[:TITLE_MAX_CHARS]


def _visible(message: Message) -> Conversation:
    """The message's conversation as it is now. Raises Deleted."""
    conversation = Conversation.objects.visible().filter(pk=message.conversation_id).first()
    if conversation is None:
        raise Deleted(_("This chat was deleted."))
    return conversation

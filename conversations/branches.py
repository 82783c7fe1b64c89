"""What a person can do with the tree of a chat."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from .exceptions import Deleted
from .models import Conversation, Message
from .paths import Tree
from .topics import conversation_changed


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


def _visible(message: Message) -> Conversation:
    """The message's conversation as it is now. Raises Deleted."""
    conversation = Conversation.objects.visible().filter(pk=message.conversation_id).first()
    if conversation is None:
        raise Deleted(_("This chat was deleted."))
    return conversation

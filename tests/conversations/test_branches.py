from __future__ import annotations

from uuid import uuid4

import pytest

from conversations import actions, branches
from conversations.exceptions import Deleted, StillRunning
from conversations.keeping import delete_conversation
from conversations.models import Conversation
from streaming.models import Stream
from tests.conversations.test_actions import finish


def test_showing_a_branch_makes_its_newest_message_the_leaf(variants):
    before = Conversation.objects.get()
    branches.show_branch(variants[1])
    conversation = Conversation.objects.get()
    assert conversation.leaf.content == "And more"
    assert conversation.version == before.version + 1
    branches.show_branch(variants[0])
    assert Conversation.objects.get().leaf == variants[0]


def test_showing_what_is_shown_does_not_move_to_a_newer_branch_below_it(variants):
    branches.show_branch(variants[0])
    branches.show_branch(variants[0].parent)
    assert Conversation.objects.get().leaf == variants[0]


def test_an_answer_of_another_branch_runs_on_and_no_second_one_is_started(variants):
    first, second, _third = variants
    running = actions.retry(second, key=uuid4())
    branches.show_branch(first)
    assert Stream.objects.open().get() == running.stream
    conversation = Conversation.objects.get()
    with pytest.raises(StillRunning, match="another version"):
        actions.send_message(conversation, "Meanwhile", key=uuid4())
    branches.show_branch(running)
    with pytest.raises(StillRunning, match="Stop it"):
        actions.send_message(conversation, "Meanwhile", key=uuid4())
    branches.show_branch(first)
    finish(running, "Fourth")
    sent = actions.send_message(conversation, "Now", key=uuid4())
    assert sent.prompt.parent == first


def test_no_branch_of_a_deleted_chat_is_shown(variants):
    delete_conversation(Conversation.objects.get())
    leaf = Conversation.objects.get().leaf
    with pytest.raises(Deleted):
        branches.show_branch(variants[0])
    assert Conversation.objects.get().leaf == leaf

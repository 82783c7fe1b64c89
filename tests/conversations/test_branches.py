from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from conversations import actions, branches
from conversations.exceptions import Deleted, KeyReused, StillRunning
from conversations.keeping import delete_conversation
from conversations.models import Conversation, Message, Role
from streaming.models import Status, Stream
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
        actions.edit_message(running.parent, "Meanwhile", key=uuid4())
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


# --- Fork


def copied(conversation: Conversation) -> list[tuple[str, str]]:
    """Role and text of the conversation's path, root first."""
    found = []
    message = conversation.leaf
    while message is not None:
        found.append((message.role, message.content))
        message = message.parent
    return found[::-1]


def test_a_fork_copies_the_path_and_leaves_the_rest_behind(owner, variants):
    second = variants[1]
    Message.objects.filter(pk=second.pk).update(model="gone:model", usage={"completion_tokens": 3})
    Conversation.objects.update(system_prompt="Be brief.", parameters={"temperature": 1})
    original = Conversation.objects.values().get()
    newest = branches.fork(second, key=uuid4())
    forked = Conversation.objects.exclude(pk=original["id"]).get()
    assert forked.leaf == newest
    assert copied(forked) == [(Role.USER, "One"), (Role.ASSISTANT, "Second")]
    assert forked.messages.count() == 2
    assert (newest.model, newest.usage, newest.stream) == (
        "gone:model",
        {"completion_tokens": 3},
        None,
    )
    assert newest.created_at == second.created_at
    assert (forked.owner, forked.title) == (owner, "Fork of One")
    assert (forked.system_prompt, forked.parameters) == ("Be brief.", {"temperature": 1})
    assert Conversation.objects.values().get(pk=original["id"]) == original
    assert second.conversation.messages.count() == 6
    assert not Stream.objects.open().exists()


def test_a_fork_at_a_prompt_gets_an_answer_of_its_own(variants):
    answer = branches.fork(variants[0].parent, key=uuid4())
    assert (answer.role, answer.stream.status) == (Role.ASSISTANT, Status.PENDING)
    assert answer.conversation.leaf == answer
    assert copied(answer.conversation) == [(Role.USER, "One"), (Role.ASSISTANT, "")]


def test_the_owner_s_list_is_told_of_a_fork(owner, variants):
    owner.refresh_from_db()
    before = owner.version
    branches.fork(variants[0], key=uuid4())
    owner.refresh_from_db()
    assert owner.version == before + 1


def test_a_fork_of_a_fork_is_marked_once_and_its_title_fits(variants):
    Conversation.objects.update(title="t" * 200)
    first = branches.fork(variants[0], key=uuid4())
    second = branches.fork(first, key=uuid4())
    assert first.conversation.title == second.conversation.title == "Fork of " + "t" * 192


def test_what_runs_cannot_be_forked_but_what_is_above_it_can(variants):
    running = actions.send_message(Conversation.objects.get(), "More", key=uuid4())
    with pytest.raises(StillRunning):
        branches.fork(running.answer, key=uuid4())
    # It has ended, but its text was not handed over yet.
    Stream.objects.filter(pk=running.answer.stream_id).update(
        status=Status.DONE, ended_at=running.answer.created_at, hook_pending=True
    )
    with pytest.raises(StillRunning):
        branches.fork(Message.objects.get(pk=running.answer.pk), key=uuid4())
    assert branches.fork(variants[2], key=uuid4()).content == "Third"


def test_the_same_key_forks_once_and_another_message_with_it_is_refused(variants):
    key = uuid4()
    assert branches.fork(variants[0], key=key) == branches.fork(variants[0], key=key)
    with pytest.raises(KeyReused):
        branches.fork(variants[1], key=key)
    assert Conversation.objects.count() == 2


def test_a_deleted_chat_is_not_forked(variants):
    delete_conversation(Conversation.objects.get())
    with pytest.raises(Deleted):
        branches.fork(variants[0], key=uuid4())
    assert Conversation.objects.count() == 1


def test_a_fork_takes_the_same_statements_however_long_the_path(variants):
    with CaptureQueriesContext(connection) as short:
        branches.fork(Message.objects.get(pk=variants[0].pk), key=uuid4())
    message = variants[2]
    for n in range(50):
        message = Message.objects.create(
            conversation=message.conversation, parent=message, role=Role.USER, content=f"turn {n}"
        )
    message = Message.objects.create(
        conversation=message.conversation, parent=message, role=Role.ASSISTANT, content="end"
    )
    with CaptureQueriesContext(connection) as long:
        newest = branches.fork(Message.objects.get(pk=message.pk), key=uuid4())
    assert len(long) == len(short)
    turns = [content for _role, content in copied(newest.conversation)]
    assert turns == ["One", "Third", *(f"turn {n}" for n in range(50)), "end"]


@pytest.mark.django_db(transaction=True)
def test_ten_clicks_at_once_make_one_fork(variants):
    key = uuid4()

    def click(_: int) -> int:
        try:
            return branches.fork(Message.objects.get(pk=variants[0].pk), key=key).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(click, range(10)))) == 1
    assert Conversation.objects.count() == 2

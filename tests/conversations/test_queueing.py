from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection

from conversations import actions, branches, keeping, purging, queueing, replies
from conversations.exceptions import Deleted, KeyReused, NotQueued, QueueFull, StillRunning
from conversations.models import Conversation, Message, QueuedMessage, Role
from conversations.submissions import Queued, Sent
from streaming.models import EndReason, Status, Stream

from .test_actions import finish


@pytest.fixture
def running(owner) -> Message:
    """The only answer of a chat, which runs."""
    return actions.start_conversation(owner, "One", key=uuid4()).answer


def queue(answer: Message, *contents: str) -> list[QueuedMessage]:
    for content in contents:
        sent = actions.send_message(Conversation.objects.get(), content, key=uuid4())
        assert isinstance(sent, Queued)
    return list(QueuedMessage.objects.all())


def waiting() -> list[tuple[int, str]]:
    return list(QueuedMessage.objects.values_list("answer", "content"))


def prompts() -> list[str]:
    return list(Message.objects.filter(role=Role.USER).values_list("content", flat=True))


def test_what_is_sent_while_an_answer_runs_waits_and_is_no_message(running):
    version = Conversation.objects.get().version
    queue(running, "Two", "Three")
    assert waiting() == [(running.pk, "Two"), (running.pk, "Three")]
    assert prompts() == ["One"]
    assert Conversation.objects.get().version == version + 2


def test_the_same_form_again_waits_once(running):
    conversation, key = Conversation.objects.get(), uuid4()
    for _ in range(2):
        sent = actions.send_message(conversation, "Two", key=key)
        assert sent == Queued(running)
    assert waiting() == [(running.pk, "Two")]
    with pytest.raises(KeyReused):
        actions.send_message(conversation, "Another", key=key)


def test_eleven_are_too_many(running):
    queue(running, *"abcdefghij")
    with pytest.raises(QueueFull, match="10 messages are already waiting"):
        actions.send_message(Conversation.objects.get(), "k", key=uuid4())
    assert len(waiting()) == 10


def test_an_answer_that_is_done_sends_the_oldest_and_the_others_wait_for_its_answer(running):
    queue(running, "Two", "Three")
    finish(running, "First answer")
    newest = Conversation.objects.get().leaf
    assert newest.parent.content == "Two"
    assert newest.parent.parent == running
    assert newest.stream.start_requested_at is not None
    assert waiting() == [(newest.pk, "Three")]
    finish(newest, "Second answer")
    assert prompts() == ["One", "Two", "Three"]
    assert waiting() == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.STOPPED, EndReason.USER),
        (Status.ERROR, EndReason.CUT),
        (Status.TIMEOUT, EndReason.LOST),
    ],
)
def test_after_another_end_all_wait_for_a_person_and_pages_are_told(running, status, reason):
    queue(running, "Two")
    version = Conversation.objects.get().version
    finish(running, "Half", status, reason)
    assert waiting() == [(running.pk, "Two")]
    assert prompts() == ["One"]
    assert Conversation.objects.get().version == version + 1


def test_a_repeated_hook_sends_nothing_twice(running):
    queue(running, "Two", "Three")
    finish(running, "First answer")
    replies.store(Stream.objects.get(pk=running.stream_id), "First answer")
    assert prompts() == ["One", "Two"]


def test_send_now_sends_it_and_the_others_go_on_waiting(running):
    _first, second = queue(running, "Two", "Three")
    actions.stop(running)
    key = uuid4()
    sent = queueing.send_now(second, key=key)
    assert (sent.prompt.content, sent.prompt.parent) == ("Three", running)
    assert Conversation.objects.get().leaf == sent.answer
    assert waiting() == [(sent.answer.pk, "Two")]
    # The same click again, and another one.
    assert queueing.send_now(second, key=key).prompt == sent.prompt
    actions.stop(sent.answer)
    with pytest.raises(NotQueued):
        queueing.send_now(second, key=uuid4())
    assert prompts() == ["One", "Three"]


def test_send_now_is_refused_while_an_answer_runs(running):
    (queued,) = queue(running, "Two")
    with pytest.raises(StillRunning):
        queueing.send_now(queued, key=uuid4())
    assert waiting() == [(running.pk, "Two")]


def test_what_is_sent_first_is_waited_for_by_the_rest(running):
    queue(running, "Two")
    actions.stop(running)
    sent = actions.send_message(Conversation.objects.get(), "Instead", key=uuid4())
    assert isinstance(sent, Sent)
    assert waiting() == [(sent.answer.pk, "Two")]


def test_a_retry_takes_the_queue_along(running):
    queue(running, "Two")
    actions.stop(running)
    retried = actions.retry(Message.objects.get(pk=running.pk), key=uuid4())
    assert waiting() == [(retried.pk, "Two")]
    finish(retried, "Whole")
    assert Message.objects.get(content="Two").parent == retried


def test_a_continued_answer_keeps_its_queue(running):
    queue(running, "Two")
    finish(running, "Half", Status.STOPPED, EndReason.USER)
    actions.continue_answer(Message.objects.get(pk=running.pk), key=uuid4())
    assert waiting() == [(running.pk, "Two")]


def test_who_reads_another_branch_stays_there(variants):
    first, second, _third = variants
    again = actions.retry(second, key=uuid4())
    queue(again, "Later")
    branches.show_branch(first)
    finish(again, "Fourth")
    assert Conversation.objects.get().leaf == first
    assert Message.objects.get(content="Later").parent == again


def test_an_edit_is_stored_once_and_the_second_editor_is_told(running):
    (queued,) = queue(running, "Two")
    queueing.edit(queued, "Two, better", edition=1)
    with pytest.raises(NotQueued, match="This message was changed in another tab"):
        queueing.edit(queued, "Two, worse", edition=1)
    assert waiting() == [(running.pk, "Two, better")]
    queueing.edit(queued, "Two, worse", edition=2)
    assert waiting() == [(running.pk, "Two, worse")]


def test_what_was_sent_can_be_neither_edited_nor_withdrawn(running):
    (queued,) = queue(running, "Two")
    finish(running, "First answer")
    with pytest.raises(NotQueued, match="sent or withdrawn"):
        queueing.edit(queued, "Other", edition=1)
    with pytest.raises(NotQueued, match="sent or withdrawn"):
        queueing.withdraw(queued)
    assert prompts() == ["One", "Two"]


def test_a_withdrawn_one_is_never_sent(running):
    first, _second = queue(running, "Two", "Three")
    queueing.withdraw(first)
    finish(running, "First answer")
    assert prompts() == ["One", "Three"]


def test_a_deleted_chat_sends_nothing_and_its_queue_goes_with_it(running, settings):
    settings.UNDO_SECONDS = 0
    queue(running, "Two")
    conversation = Conversation.objects.get()
    keeping.delete_conversation(conversation)
    assert prompts() == ["One"]
    with pytest.raises(Deleted):
        actions.send_message(conversation, "Three", key=uuid4())
    purging.purge(conversation.pk)
    assert waiting() == []


@pytest.mark.django_db(transaction=True)
def test_an_end_and_ten_follow_ups_at_once_lose_and_double_nothing(owner):
    running = actions.start_conversation(owner, "One", key=uuid4()).answer
    names = [f"Follow-up {number}" for number in range(10)]

    def act(number: int) -> None:
        try:
            if number == 10:
                finish(running, "First answer")
            else:
                conversation = Conversation.objects.get()
                actions.send_message(conversation, names[number], key=uuid4())
        finally:
            connection.close()

    with ThreadPoolExecutor(11) as pool:
        list(pool.map(act, range(11)))
    kept = prompts()[1:] + [content for _, content in waiting()]
    assert sorted(kept) == sorted(names)
    # One was sent at the end, unless all came after it: then the first of them.
    assert len(prompts()) == 2

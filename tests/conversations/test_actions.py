from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection

from conversations import actions, keeping, replies
from conversations.exceptions import (
    CannotContinue,
    Deleted,
    KeyReused,
    StillRunning,
    UnknownModel,
)
from conversations.models import Conversation, Message, Role, Submission
from conversations.providers import default_model_id
from streaming import verifying
from streaming.actions import end_stream
from streaming.appending import Append, append
from streaming.claims import claim_pending
from streaming.models import EndReason, Status, Stream
from streaming.reader import text_of


def finish(
    message: Message,
    text: str = "",
    status: Status = Status.DONE,
    reason: EndReason = EndReason.COMPLETE,
    **result: object,
) -> None:
    """End the answer as its generator would, with `text` already committed."""
    if text:
        message.stream.chunks.create(start=0, text=text, epoch=0, created_at=message.created_at)
        Stream.objects.filter(pk=message.stream_id).update(length=len(text))
    assert end_stream(message.stream_id, status, reason, result=result) is not None


def test_it_starts_a_conversation_with_a_prompt_and_an_answer_that_starts(owner):
    sent = actions.start_conversation(owner, "Hello\nthere", key=uuid4())
    assert (sent.prompt.role, sent.prompt.content) == (Role.USER, "Hello\nthere")
    assert (sent.answer.role, sent.answer.content) == (Role.ASSISTANT, "")
    assert sent.answer.parent == sent.prompt
    assert sent.answer.stream.start_requested_at is not None
    conversation = Conversation.objects.get()
    assert conversation.owner == owner
    assert conversation.title == "Hello"
    assert conversation.leaf == sent.answer


def test_it_raises_the_versions_that_pages_watch(owner):
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    conversation = Conversation.objects.get()
    owner.refresh_from_db()
    assert conversation.version == sent.prompt.version == sent.answer.version == 1
    assert owner.version == 1


def test_it_tells_pages_after_the_commit(owner, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        actions.start_conversation(owner, "Hello", key=uuid4())
    assert callbacks


def test_the_same_key_again_gives_the_same_rows(owner):
    key = uuid4()
    first = actions.start_conversation(owner, "Hello", key=key)
    again = actions.start_conversation(owner, "Hello", key=key)
    assert (again.prompt, again.answer) == (first.prompt, first.answer)
    assert Conversation.objects.count() == Stream.objects.count() == 1


def test_another_text_with_the_same_key_is_refused_and_stores_nothing(owner):
    key = uuid4()
    actions.start_conversation(owner, "Hello", key=key)
    with pytest.raises(KeyReused):
        actions.start_conversation(owner, "Something else", key=key)
    assert Conversation.objects.count() == 1


def test_the_same_key_of_two_people_is_two_conversations(owner, stranger):
    key = uuid4()
    actions.start_conversation(owner, "Hello", key=key)
    actions.start_conversation(stranger, "Hello", key=key)
    assert Conversation.objects.count() == 2


def test_it_sends_a_message_under_the_newest_answer(owner):
    first = actions.start_conversation(owner, "One", key=uuid4())
    finish(first.answer, "Two")
    sent = actions.send_message(Conversation.objects.get(), "Three", key=uuid4())
    assert sent.prompt.parent == first.answer
    assert Conversation.objects.get().leaf == sent.answer


def test_it_refuses_a_message_that_may_not_wait_while_an_answer_runs(owner):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    with pytest.raises(StillRunning):
        actions.send_message(sent.conversation, "Two", key=uuid4(), may_wait=False)
    assert Message.objects.count() == 2
    assert Submission.objects.count() == 1


def test_a_refused_message_may_be_sent_again_with_its_key(owner):
    first = actions.start_conversation(owner, "One", key=uuid4())
    key = uuid4()
    with pytest.raises(StillRunning):
        actions.send_message(first.conversation, "Two", key=key, may_wait=False)
    actions.stop(first.answer)
    assert actions.send_message(first.conversation, "Two", key=key).prompt.content == "Two"


def test_a_retry_is_a_sibling_and_becomes_the_newest(owner):
    first = actions.start_conversation(owner, "One", key=uuid4())
    finish(first.answer, "Two")
    answer = actions.retry(Message.objects.get(pk=first.answer.pk), key=uuid4())
    assert answer.parent == first.prompt
    assert Conversation.objects.get().leaf == answer
    assert Message.objects.get(pk=first.answer.pk).content == "Two"


def test_a_retry_sent_twice_is_one_answer(owner):
    first = actions.start_conversation(owner, "One", key=uuid4())
    finish(first.answer)
    key = uuid4()
    assert actions.retry(first.answer, key=key) == actions.retry(first.answer, key=key)
    assert first.prompt.replies.count() == 2


def test_a_retry_is_refused_while_an_answer_runs(owner):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    with pytest.raises(StillRunning):
        actions.retry(sent.answer, key=uuid4())


def stopped(owner, text: str = "Half an ans") -> Message:
    """The answer of a conversation, stopped after `text`."""
    answer = actions.start_conversation(owner, "One", key=uuid4(), model="echo:echo").answer
    finish(answer, text, Status.STOPPED, EndReason.USER)
    return Message.objects.get(pk=answer.pk)


def test_a_continued_answer_is_the_same_message_with_its_text(owner):
    answer = stopped(owner)
    before = Conversation.objects.get()
    continued = actions.continue_answer(answer, key=uuid4())
    message = Message.objects.select_related("conversation", "stream").get(pk=answer.pk)
    assert continued == message
    assert message.stream.status == Status.PENDING
    assert message.stream_id != answer.stream_id
    assert text_of(message.stream) == "Half an ans"
    assert message.content == ""
    assert message.version == message.conversation.version == before.version + 1
    assert message.conversation.leaf == message
    assert message.conversation.last_message_at > before.last_message_at
    assert Stream.objects.count() == 1
    assert Message.objects.count() == 2


def test_its_content_is_the_whole_text_in_the_end_however_often_it_was_continued(owner):
    answer = stopped(owner, "0 ")
    text = "0 "
    for n in range(1, 5):
        actions.continue_answer(answer, key=uuid4())
        answer = Message.objects.get(pk=answer.pk)
        stream = claim_pending(answer.stream_id)
        append([Append(stream.pk, stream.epoch, len(text), f"{n} ")])
        text += f"{n} "
        assert actions.stop(Message.objects.get(pk=answer.pk))
        answer = Message.objects.get(pk=answer.pk)
        assert answer.content == text_of(answer.stream) == text
        assert not verifying.check(answer.stream_id)
    assert Stream.objects.count() == 1


def test_the_same_key_again_continues_once(owner):
    answer = stopped(owner)
    key = uuid4()
    first = actions.continue_answer(answer, key=key)
    assert actions.continue_answer(answer, key=key) == first
    assert Stream.objects.get().status == Status.PENDING


def test_another_click_while_it_runs_is_refused(owner):
    answer = stopped(owner)
    actions.continue_answer(answer, key=uuid4())
    with pytest.raises(StillRunning):
        actions.continue_answer(answer, key=uuid4())
    assert Stream.objects.count() == 1


ENDS = [
    (Status.STOPPED, EndReason.USER, True),
    (Status.STOPPED, EndReason.OPERATOR, True),
    (Status.STOPPED, EndReason.DELETED, False),
    (Status.TIMEOUT, EndReason.LOST, True),
    (Status.ERROR, EndReason.CUT, True),
    (Status.ERROR, EndReason.IDLE, True),
    (Status.ERROR, EndReason.NO_MODEL, True),
    (Status.DONE, EndReason.LENGTH, True),
    (Status.DONE, EndReason.COMPLETE, False),
    (Status.DONE, EndReason.FILTER, False),
    (Status.DONE, EndReason.CAP, False),
]


@pytest.mark.parametrize(("status", "reason", "can"), ENDS)
@pytest.mark.parametrize("text", ["Half", ""])
def test_what_ended_too_early_and_has_text_can_be_continued(owner, status, reason, can, text):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    finish(sent.answer, text, status, reason)
    answer = Message.objects.get(pk=sent.answer.pk)
    assert answer.can_continue is (can and text != "")
    if answer.can_continue:
        assert actions.continue_answer(answer, key=uuid4()) == answer
    else:
        with pytest.raises(CannotContinue):
            actions.continue_answer(answer, key=uuid4())


def test_only_the_newest_answer_is_continued(owner):
    answer = stopped(owner)
    actions.stop(actions.send_message(answer.conversation, "Two", key=uuid4()).answer)
    with pytest.raises(CannotContinue):
        actions.continue_answer(answer, key=uuid4())
    assert Message.objects.get(pk=answer.pk).stream_id == answer.stream_id


def test_an_answer_without_a_stream_or_of_a_deleted_chat_is_not_continued(owner):
    answer = stopped(owner)
    Message.objects.update(stream=None)
    with pytest.raises(CannotContinue):
        actions.continue_answer(answer, key=uuid4())
    answer = stopped(owner)
    keeping.delete_conversation(answer.conversation)
    with pytest.raises(Deleted):
        actions.continue_answer(answer, key=uuid4())
    assert not Stream.objects.open().exists()


def test_the_chosen_model_continues_else_the_one_that_began_if_it_is_offered(owner):
    answer = stopped(owner)
    Message.objects.filter(pk=answer.pk).update(model="gone:model")
    assert actions.continue_answer(answer, key=uuid4()).model == "echo:echo"

    Conversation.objects.update(model="")
    for began, goes_on in [("echo:echo", "echo:echo"), ("gone:model", default_model_id())]:
        actions.stop(Message.objects.get(pk=answer.pk))
        Message.objects.filter(pk=answer.pk).update(model=began)
        continued = actions.continue_answer(Message.objects.get(pk=answer.pk), key=uuid4())
        assert continued.model == continued.stream.params["model"] == goes_on


def test_what_the_parts_of_an_answer_cost_is_added_up(owner):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    first = {"prompt_tokens": 7, "completion_tokens": 20}
    finish(sent.answer, "Half", Status.DONE, EndReason.LENGTH, usage=first)
    continued = actions.continue_answer(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    usage = {"prompt_tokens": 30, "completion_tokens": 5}
    for _ in range(2):
        continued.stream.result = {"usage": usage}
        replies.store(continued.stream, "Half and half")
        answer = Message.objects.get(pk=sent.answer.pk)
        assert answer.usage == {"prompt_tokens": 37, "completion_tokens": 25}


def test_stop_ends_the_answer_and_keeps_its_text(owner):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    sent.answer.stream.chunks.create(
        start=0, text="Half an ans", epoch=0, created_at=sent.answer.created_at
    )
    Stream.objects.update(length=11)
    assert actions.stop(sent.answer)
    assert not actions.stop(sent.answer)
    answer = Message.objects.get(pk=sent.answer.pk)
    assert (answer.stream.status, answer.content) == (Status.STOPPED, "Half an ans")


def test_the_end_raises_the_version_of_the_list_alone(owner):
    sent = actions.start_conversation(owner, "One", key=uuid4())
    owner.refresh_from_db()
    before = owner.version
    finish(sent.answer, "Two")
    owner.refresh_from_db()
    assert owner.version == before + 1
    answer = Message.objects.get(pk=sent.answer.pk)
    assert answer.content == "Two"
    assert answer.version == Conversation.objects.get().version == sent.answer.version


def test_it_refuses_a_model_that_is_not_offered(owner):
    with pytest.raises(UnknownModel):
        actions.start_conversation(owner, "One", key=uuid4(), model="nobody:nothing")
    sent = actions.start_conversation(owner, "One", key=uuid4(), model="echo:echo")
    with pytest.raises(UnknownModel):
        actions.set_model(sent.conversation, "nobody:nothing")
    assert Conversation.objects.get().model == "echo:echo"


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Hello", "Hello"),
        ("\n\n  Hello \nworld", "Hello"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("## Hello\nworld", "Hello"),
        ("```python\nx = 1\n```", "x = 1"),
        ("-5 + 3?", "-5 + 3?"),
        ("```\n```", "``` ```"),
        ("x" * 200, "x" * 60 + "…"),
    ],
)
def test_the_title_is_the_first_line_cut_at_a_word(content, title):
    assert actions.title_from(content) == title


@pytest.mark.django_db(transaction=True)
def test_ten_clicks_at_once_continue_an_answer_once(owner):
    answer = stopped(owner)

    def click(_: int) -> str:
        try:
            actions.continue_answer(Message.objects.get(pk=answer.pk), key=uuid4())
        except StillRunning:
            return "refused"
        else:
            return "continued"
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        outcomes = sorted(pool.map(click, range(10)))
    assert outcomes == ["continued"] + ["refused"] * 9
    stream = Stream.objects.get()
    assert (stream.status, text_of(stream)) == (Status.PENDING, "Half an ans")


@pytest.mark.django_db(transaction=True)
def test_ten_submissions_at_once_store_one_message(owner):
    key = uuid4()

    def submit(_: int) -> int:
        try:
            return actions.start_conversation(owner, "Hello", key=key).prompt.pk
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        pks = set(pool.map(submit, range(10)))
    assert len(pks) == 1
    assert Message.objects.count() == 2
    assert Stream.objects.count() == 1

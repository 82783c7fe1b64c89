from __future__ import annotations

from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.utils import translation

from conversations import actions, replies
from conversations.models import Conversation, Message
from conversations.providers.base import (
    ChatRequest,
    Finished,
    ProviderError,
    Reasoning,
    Text,
    Turn,
    Usage,
)
from streaming.actions import end_stream
from streaming.exceptions import StreamFailed
from streaming.generators import End, get_generator
from streaming.models import EndReason, Status, Stream
from streaming.verifying import check, repair
from tests.conversations.conftest import Scripted
from tests.streaming.rows import write


@pytest.fixture
def sent(transactional_db, owner):
    return actions.start_conversation(owner, "First", key=uuid4())


def generate(stream: Stream, committed: str = "") -> list[str | End]:
    async def collect() -> list[str | End]:
        return [item async for item in replies.generate(stream, {}, committed)]

    return async_to_sync(collect)()


def finish(message: Message, text: str) -> None:
    message.stream.chunks.create(start=0, text=text, epoch=0, created_at=message.created_at)
    Stream.objects.filter(pk=message.stream_id).update(length=len(text))
    assert end_stream(message.stream_id, Status.DONE, EndReason.COMPLETE) is not None


def test_the_text_passes_through_and_the_end_says_what_it_cost(sent, script):
    provider = script(Reasoning("hm"), Text("Hel"), Text("lo"), Usage(3, 2), Finished("length"))
    *texts, end = generate(sent.answer.stream)
    assert texts == ["<think>\nhm", "\n</think>\n\nHel", "lo"]
    assert isinstance(end, End)
    assert end.reason == "length"
    assert end.result["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert end.result["left_out"] == 0
    assert provider.closed == 1


def test_the_provider_is_asked_with_the_path_to_the_answer_alone(sent, script):
    finish(sent.answer, "Other answer")
    retried = actions.retry(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    finish(retried, "Second")
    newest = actions.send_message(Conversation.objects.get(), "Third", key=uuid4())
    Conversation.objects.update(system_prompt="Be brief.", parameters={"temperature": 0})
    provider = script(Finished("stop"))
    generate(newest.answer.stream)
    asked = provider.asked[0]
    assert [(turn.role, turn.content) for turn in asked.turns] == [
        ("user", "First"),
        ("assistant", "Second"),
        ("user", "Third"),
    ]
    assert (asked.model, asked.system, asked.parameters) == (
        "model",
        "Be brief.",
        {"temperature": 0},
    )


def test_text_that_is_committed_is_the_prefix(sent, script):
    provider = script(Text("lo"), Finished("stop"))
    assert generate(sent.answer.stream, "Hel")[0] == "lo"
    assert provider.asked[0].prefix == "Hel"


def asked_to_go_on(provider: Scripted) -> ChatRequest:
    """What the provider was asked, its last turn being what everyone gets who cannot carry on."""
    (asked,) = provider.asked
    assert asked.prefix == ""
    assert asked.turns[-1] == Turn("user", replies.GO_ON)
    return asked


def test_a_provider_that_does_not_carry_on_is_shown_its_text_and_asked_to_go_on(sent, script):
    provider = script(Text("lo"), Finished("stop"))
    provider.carries_on = False
    assert generate(sent.answer.stream, "Hel")[0] == "lo"
    asked = asked_to_go_on(provider)
    assert asked.turns[:-1] == [Turn("user", "First"), Turn("assistant", "Hel")]


def test_white_space_is_nothing_to_go_on_from(sent, script):
    provider = script(Text("Hello"), Finished("stop"))
    provider.carries_on = False
    generate(sent.answer.stream, " \n")
    assert provider.asked[0].turns == [Turn("user", "First")]


@pytest.mark.parametrize("carries_on", [True, False])
def test_the_text_so_far_takes_its_room_in_the_context(sent, script, carries_on):
    finish(sent.answer, "x" * 600)
    newest = actions.send_message(Conversation.objects.get(), "Third", key=uuid4())
    provider = script(Finished("stop"), context_tokens=1_000)
    provider.carries_on = carries_on
    # Room for 750 tokens: without the text all three turns would fit.
    [end] = generate(newest.answer.stream, "y" * 1_900)
    assert end.result["left_out"] == 2
    asked = provider.asked[0]
    turns = asked.turns if carries_on else asked_to_go_on(provider).turns[:-2]
    assert turns == [Turn("user", "Third")]


@pytest.mark.parametrize("carries_on", [True, False])
def test_a_text_that_is_too_long_to_be_continued_says_so(sent, script, carries_on):
    provider = script(Finished("stop"), context_tokens=1_000)
    provider.carries_on = carries_on
    with pytest.raises(StreamFailed) as failure:
        generate(sent.answer.stream, "y" * 5_000)
    assert failure.value.reason == EndReason.TOO_LONG
    assert "answer so far" in failure.value.detail
    assert provider.asked == []


def test_an_answer_without_an_explicit_end_was_cut(sent, script):
    script(Text("Hel"))
    with pytest.raises(StreamFailed) as failure:
        generate(sent.answer.stream)
    assert failure.value.reason == EndReason.CUT


def test_a_provider_s_error_is_passed_on_as_a_sentence(sent, script):
    script(Text("Hel"), ProviderError("rate_limit", "Try again in 20 s."))
    with pytest.raises(StreamFailed) as failure:
        generate(sent.answer.stream)
    assert (failure.value.reason, failure.value.detail) == ("rate_limit", "Try again in 20 s.")


def test_leaving_early_closes_the_provider(sent, script):
    provider = script(Text("one"), Text("two"), Finished("stop"))

    async def leave() -> None:
        answer = replies.generate(sent.answer.stream, {}, "")
        assert await anext(answer) == "one"
        await answer.aclose()

    async_to_sync(leave)()
    assert provider.closed == 1


def test_a_message_that_cannot_fit_is_not_sent(sent, script):
    Message.objects.filter(pk=sent.prompt.pk).update(content="x" * 5_000)
    provider = script(Finished("stop"), context_tokens=1_000)
    with pytest.raises(StreamFailed) as failure:
        generate(sent.answer.stream)
    assert failure.value.reason == EndReason.TOO_LONG
    assert provider.asked == []


def test_what_was_left_out_is_counted(sent, script):
    finish(sent.answer, "x" * 3_000)
    newest = actions.send_message(Conversation.objects.get(), "Third", key=uuid4())
    provider = script(Finished("stop"), context_tokens=1_000)
    [end] = generate(newest.answer.stream)
    assert end.result["left_out"] == 2
    assert [turn.content for turn in provider.asked[0].turns] == ["Third"]


def test_a_model_that_is_gone_ends_the_answer_with_a_sentence(sent):
    Message.objects.filter(pk=sent.answer.pk).update(model="gone:model")
    with pytest.raises(StreamFailed) as failure:
        generate(sent.answer.stream)
    assert failure.value.reason == EndReason.NO_MODEL
    sent.answer.stream.params["model"] = "gone:model"
    assert not replies.carries_on(sent.answer.stream)


def test_echo_says_what_it_was_told(sent):
    *texts, end = generate(sent.answer.stream)
    assert "".join(texts) == 'I received your message: "First". How can I help you further?'
    assert end.reason == "stop"
    assert replies.carries_on(sent.answer.stream)


def test_the_end_stores_the_text_once_and_again(sent):
    stream = sent.answer.stream
    stream.result = {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    for _ in range(2):
        replies.store(stream, "The text")
    answer = Message.objects.get(pk=sent.answer.pk)
    assert answer.content == "The text"
    assert answer.usage["completion_tokens"] == 2


def test_the_end_of_a_deleted_message_is_no_error(sent):
    stream = sent.answer.stream
    Message.objects.all().delete()
    replies.store(stream, "The text")


def test_the_owner_and_auditors_may_read_but_only_the_owner_may_stop(
    sent, owner, stranger, auditor
):
    from django.contrib.auth.models import AnonymousUser

    stream = sent.answer.stream
    readers = [owner, stranger, auditor, AnonymousUser()]
    assert [replies.may_read(user, stream) for user in readers] == [True, False, True, False]
    assert [replies.may_stop(user, stream) for user in readers] == [True, False, False, False]
    Conversation.objects.update(deleted_at=sent.prompt.created_at)
    assert not replies.may_read(owner, Stream.objects.get(pk=stream.pk))


def test_the_generator_is_registered_with_the_chat_s_hooks():
    generator = get_generator(actions.GENERATOR)
    assert generator.on_end is replies.store
    assert generator.foot_template == "conversations/_foot.html"


@pytest.mark.django_db
def test_a_message_that_lost_its_text_gets_it_back_from_the_stream(owner) -> None:
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    stream = sent.answer.stream
    assert stream
    write(stream, "the ", "answer")
    end_stream(stream.pk, Status.DONE, "stop")
    assert check(stream.pk) == []
    Message.objects.filter(pk=sent.answer.pk).update(content="the answ")
    (problem,) = check(stream.pk)
    assert problem.kind == "content"
    assert repair(problem)
    sent.answer.refresh_from_db()
    assert sent.answer.content == "the answer"


@pytest.mark.django_db
def test_an_answer_is_spoken_of_in_the_language_of_who_asked(owner, settings) -> None:
    generator = get_generator(actions.GENERATOR)
    with translation.override("ko"):
        stream = actions.start_conversation(owner, "안녕", key=uuid4()).answer.stream
    assert stream
    assert generator.language_of(stream) == "ko"
    assert generator.language_of(Stream(owner=owner)) == "en"
    assert generator.language_of(Stream()) == "en"
    settings.LANGUAGE_CODE = "ko"
    assert generator.language_of(Stream(owner=owner)) == "ko", "the site's"
    # What the person chose holds over the page's.
    owner.language = "en"
    assert generator.language_of(Stream(owner=owner, params={"language": "ko"})) == "en"


@pytest.mark.django_db
def test_a_queued_message_is_answered_in_the_language_of_the_page_before(owner) -> None:
    with translation.override("ko"):
        sent = actions.start_conversation(owner, "안녕", key=uuid4())
        actions.send_message(sent.answer.conversation, "그리고", key=uuid4())
    finish(sent.answer, "네")
    stream = Message.objects.exclude(pk=sent.answer.pk).get(stream__isnull=False).stream
    assert stream
    assert stream.params["language"] == "ko"

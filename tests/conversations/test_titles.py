from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync

from conversations import actions, keeping, replies, titles
from conversations.models import Conversation, Message
from conversations.providers.base import Finished, ProviderError, Text
from streaming.actions import end_stream
from streaming.models import EndReason, Status, Stream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def with_titles(settings) -> None:
    settings.MODEL_TITLES = True


@pytest.fixture
def sent(owner):
    """A chat with a model that is no demo."""
    sent = actions.start_conversation(owner, "How do I get from Busan to Seoul?", key=uuid4())
    Message.objects.filter(pk=sent.answer.pk).update(model="openai:model")
    return sent


def answer(stream: Stream) -> None:
    """Let the provider answer, and wait for the title as nobody else would."""

    async def run() -> None:
        async for _item in replies.generate(stream, {}, ""):
            pass
        await asyncio.gather(*titles._tasks)

    async_to_sync(run)()


def title() -> str:
    return Conversation.objects.get().title


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("From Busan to Seoul", "From Busan to Seoul"),
        ("“From Busan to Seoul”\n", "From Busan to Seoul"),
        ("# **From** Busan\n\nHere is why", "**From** Busan"),
        ("부산에서 서울까지", "부산에서 서울까지"),
        ("", "How do I get from Busan to Seoul?"),
        ('""', "How do I get from Busan to Seoul?"),
        ("word " * 1_000, "How do I get from Busan to Seoul?"),
    ],
)
def test_the_model_writes_the_title_after_the_first_answer(sent, script, said, expected):
    provider = script(Text(said), Finished("stop"))
    version = Conversation.objects.get().version
    assert title() == "How do I get from Busan to Seoul?"
    answer(sent.answer.stream)
    assert title() == expected
    # Every page that shows it, or lists it, is told.
    assert (Conversation.objects.get().version > version) is (title() != sent.prompt.content)
    _first, asked = provider.asked
    assert [turn.role for turn in asked.turns] == ["user", "assistant", "user"]
    assert asked.turns[-1].content == titles.ASK


def test_a_title_that_a_person_wrote_stays(sent, script):
    script(Text("Another"), Finished("stop"))
    keeping.rename(sent.conversation, "Mine")
    answer(sent.answer.stream)
    assert title() == "Mine"


def test_a_title_is_written_once(sent, script):
    script(Text("The first"), Finished("stop"))
    answer(sent.answer.stream)
    end_stream(sent.answer.stream_id, Status.DONE, EndReason.COMPLETE)
    again = actions.retry(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    script(Text("The second"), Finished("stop"))
    answer(again.stream)
    assert title() == "The first"


def test_later_answers_ask_for_no_title(sent, script):
    end_stream(sent.answer.stream_id, Status.DONE, EndReason.COMPLETE)
    later = actions.send_message(Conversation.objects.get(), "And back?", key=uuid4())
    provider = script(Text("By train"), Finished("stop"))
    answer(later.answer.stream)
    assert len(provider.asked) == 1


@pytest.mark.parametrize("model", ["echo:echo", "local:small"])
def test_a_demo_writes_no_title(sent, script, model):
    Message.objects.filter(pk=sent.answer.pk).update(model=model)
    provider = script(Text("No title"), Finished("stop"))
    answer(sent.answer.stream)
    assert len(provider.asked) == 1


def test_a_failure_is_silent(sent, script, caplog):
    provider = script(Text("An answer"), Finished("stop"))
    original, calls = provider.stream, 0

    def stream(request):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ProviderError("rate_limit", "Later.")
        return original(request)

    provider.stream = stream
    answer(sent.answer.stream)
    assert calls == 2
    assert title() == "How do I get from Busan to Seoul?"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_model_that_takes_too_long_is_not_waited_for(sent, script, monkeypatch):
    provider = script(Text("An answer"), Finished("stop"))
    original = provider.stream

    async def stream(request):
        if request.turns[-1].content == titles.ASK:
            await asyncio.Event().wait()
        async for event in original(request):
            yield event

    provider.stream = stream
    monkeypatch.setattr(titles, "TITLE_SECONDS", 0.01)
    answer(sent.answer.stream)
    assert title() == "How do I get from Busan to Seoul?"


def test_the_operator_may_turn_it_off(sent, script, settings):
    settings.MODEL_TITLES = False
    provider = script(Text("An answer"), Finished("stop"))
    answer(sent.answer.stream)
    assert len(provider.asked) == 1

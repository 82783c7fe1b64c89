"""What a model thinks: written, kept apart from its answer, and never sent back to it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from conversations import actions, branches
from conversations.downloads import json_of, markdown_of
from conversations.models import Conversation, Message
from conversations.providers.base import Finished, Reasoning, Text, Turn
from conversations.reasoning import CLOSING, OPENING, Marker, joined
from conversations.searching import search
from streaming.actions import end_stream
from streaming.models import EndReason, Status, Stream
from streaming.verifying import check

from .test_replies import generate, sent  # noqa: F401 - a fixture

THOUGHT, ANSWER = "Which city? Rome.", "The **capital** is Rome."


def chunks(message: Message, *pieces: tuple[float, str]) -> None:
    """Commit pieces of text, each so many seconds after the first."""
    now, start = timezone.now(), 0
    for seconds, text in pieces:
        at = now + timedelta(seconds=seconds)
        message.stream.chunks.create(start=start, text=text, epoch=0, created_at=at)
        start += len(text)
    Stream.objects.filter(pk=message.stream_id).update(length=start, status=Status.STREAMING)
    message.stream.refresh_from_db()


def ended(message: Message, status: Status = Status.DONE) -> Message:
    reason = EndReason.COMPLETE if status == Status.DONE else EndReason.USER
    assert end_stream(message.stream_id, status, reason) is not None
    return Message.objects.select_related("stream", "conversation").get(pk=message.pk)


@pytest.fixture
def reasoned(sent) -> Message:  # noqa: F811
    chunks(sent.answer, (0, OPENING), (2, THOUGHT), (7, CLOSING + ANSWER[:9]), (9, ANSWER[9:]))
    return ended(sent.answer)


def test_a_thought_that_comes_behind_the_answer_is_only_a_sign_of_life() -> None:
    marker = Marker()
    written = [marker.thought("Hm"), marker.thought(""), marker.said("A"), marker.thought("Hm")]
    assert written == [f"{OPENING}Hm", "", f"{CLOSING}A", ""]


def test_who_thinks_again_after_an_interruption_goes_on_in_a_paragraph() -> None:
    marker = Marker(joined("Hm", ""))
    assert marker.thought("Ah") + marker.thought("!") + marker.said("A") == f"\n\nAh!{CLOSING}A"


def test_who_goes_on_with_an_answer_does_not_think_again() -> None:
    marker = Marker(joined("Hm", "A"))
    assert (marker.thought("Ah"), marker.said("B")) == ("", "B")


def test_an_end_keeps_answer_and_reasoning_apart(reasoned):
    assert (reasoned.content, reasoned.reasoning) == (ANSWER, THOUGHT)
    assert reasoned.reasoning_seconds == 7
    assert reasoned.text() == joined(THOUGHT, ANSWER)
    assert reasoned.body() == ANSWER
    assert check(reasoned.stream_id) == []


def test_a_model_that_was_stopped_while_it_thought_has_no_answer(sent):  # noqa: F811
    chunks(sent.answer, (0, OPENING + "Hm"), (3, "."))
    message = ended(sent.answer, Status.STOPPED)
    assert (message.content, message.reasoning, message.reasoning_seconds) == ("", "Hm.", 3)
    assert check(message.stream_id) == []


def test_the_next_question_is_sent_without_it(reasoned, script):
    newest = actions.send_message(reasoned.conversation, "And of France?", key=uuid4())
    provider = script(Reasoning("Paris"), Text("Paris."), Finished("stop"))
    assert generate(newest.answer.stream)[:2] == [f"{OPENING}Paris", f"{CLOSING}Paris."]
    assert Turn("assistant", ANSWER) in provider.asked[0].turns


def test_only_the_answer_is_written_on(reasoned, script):
    provider = script(Text(" Indeed."), Finished("stop"))
    assert generate(reasoned.stream, reasoned.text())[0] == " Indeed."
    assert provider.asked[0].prefix == ANSWER


def test_a_continued_answer_keeps_its_reasoning_and_its_time(sent):  # noqa: F811
    chunks(sent.answer, (0, OPENING + THOUGHT), (5, CLOSING + ANSWER))
    stopped = ended(sent.answer, Status.STOPPED)
    again = actions.continue_answer(stopped, key=uuid4())
    assert (again.content, again.reasoning) == ("", "")
    assert again.text() == joined(THOUGHT, ANSWER)
    whole = ended(again)
    assert (whole.content, whole.reasoning, whole.reasoning_seconds) == (ANSWER, THOUGHT, 5)


def test_a_fork_takes_it_along(reasoned):
    copy = branches.fork(reasoned, key=uuid4())
    assert (copy.text(), copy.reasoning_seconds) == (reasoned.text(), 7)


def test_it_is_not_copied_but_downloaded(reasoned, client_of, owner):
    url = reverse("conversations:message-text", args=[reasoned.pk])
    assert client_of(owner).get(url).content.decode() == ANSWER
    assert THOUGHT not in "".join(markdown_of(reasoned.conversation))
    assert THOUGHT in "".join(json_of(reasoned.conversation))


@pytest.mark.parametrize("is_over", [False, True])
def test_it_is_not_found(sent, owner, is_over):  # noqa: F811
    chunks(sent.answer, (0, OPENING + THOUGHT), (1, CLOSING + ANSWER))
    if is_over:
        ended(sent.answer)
    assert search(owner, "Which city").found == []
    assert len(search(owner, "capital").found) == 1


def test_the_page_of_an_answer_that_ended_has_it_folded_with_its_time(reasoned, client_of, owner):
    page = client_of(owner).get(reasoned.conversation.get_absolute_url()).content.decode()
    assert '<span class="reasoning-time" data-seconds="7">0:07</span>' in page
    assert f'<span class="thought">{THOUGHT}</span>' in page
    assert "&lt;think" not in page


def test_the_page_of_an_answer_that_runs_counts_on_from_what_it_thought(sent, client_of, owner):  # noqa: F811
    chunks(sent.answer, (-90, OPENING + THOUGHT), (-20, CLOSING + ANSWER))
    url = Conversation.objects.get().get_absolute_url()
    page = client_of(owner).get(url).content.decode()
    assert '<span class="reasoning-time" data-seconds="70">1:10</span>' in page


def test_an_answer_without_reasoning_has_no_place_for_it(sent, client_of, owner):  # noqa: F811
    chunks(sent.answer, (0, ANSWER))
    ended(sent.answer)
    page = client_of(owner).get(Conversation.objects.get().get_absolute_url()).content.decode()
    assert 'class="reasoning"' not in page

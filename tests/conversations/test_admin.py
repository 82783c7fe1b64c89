from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from conversations.actions import retry, start_conversation
from conversations.admin import MESSAGES_SHOWN
from conversations.models import Conversation, Message, Role
from streaming.actions import end_stream
from streaming.models import Chunk, Status, Stream

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"


def page_of(conversation: Conversation) -> str:
    return reverse("admin:conversations_conversation_change", args=[conversation.pk])


def write(stream: Stream, text: str) -> None:
    """Commit `text` at the stream's end, as its writer would."""
    stream.refresh_from_db()
    Chunk.objects.create(
        stream=stream, start=stream.length, text=text, epoch=1, created_at=stream.created_at
    )
    Stream.objects.filter(pk=stream.pk).update(
        length=stream.length + len(text), status=Status.STREAMING, epoch=1
    )


@pytest.fixture
def office(auditor: Any, client_of: Callable[[Any], Client]) -> Client:
    """The admin, as somebody sees it who may do everything there."""
    return client_of(auditor)


@pytest.fixture
def chat(owner: Any) -> Conversation:
    """A conversation with a question and a running answer that has some text."""
    sent = start_conversation(owner, "What is **bread**?", key=uuid.uuid4())
    assert sent.answer.stream
    write(sent.answer.stream, "# Bread\n\nFlour *and* water.")
    return sent.conversation


def test_the_list_shows_title_owner_and_number_of_messages(
    office: Client, chat: Conversation
) -> None:
    html = office.get(LIST).text
    assert "What is **bread**?" in html
    assert "owner@example.com" in html
    assert '<td class="field-message_count">2</td>' in html


def test_the_list_takes_the_same_queries_for_one_and_for_many(
    office: Client,
    chat: Conversation,
    owner: Any,
    django_assert_num_queries: Any,
    django_assert_max_num_queries: Any,
) -> None:
    with django_assert_max_num_queries(10) as few:
        office.get(LIST)
    for _ in range(10):
        start_conversation(owner, "again", key=uuid.uuid4())
    with django_assert_num_queries(len(few)):
        office.get(LIST)


def test_search_finds_titles_and_owners(office: Client, chat: Conversation) -> None:
    assert page_of(chat) in office.get(LIST, {"q": "bread"}).text
    assert page_of(chat) in office.get(LIST, {"q": "owner@"}).text
    assert page_of(chat) not in office.get(LIST, {"q": "flour"}).text


def test_messages_are_read_as_the_chat_reads_also_while_the_answer_runs(
    office: Client, chat: Conversation
) -> None:
    html = office.get(page_of(chat)).text
    assert '<div class="stream-rendered">What is **bread**?</div>' in html
    assert "Bread</h1>" in html
    assert "<em>and</em>" in html
    assert "Streaming</a>" in html


def test_an_ended_answer_shows_its_state_in_words(office: Client, chat: Conversation) -> None:
    assert chat.leaf
    assert chat.leaf.stream
    end_stream(chat.leaf.stream.pk, Status.TIMEOUT, "lost")
    html = office.get(page_of(chat)).text
    assert "Interrupted: the server restarted." in html
    assert "<em>and</em>" in html


def test_a_script_in_a_message_does_not_reach_the_page(office: Client, owner: Any) -> None:
    sent = start_conversation(owner, "<script>alert(1)</script>", key=uuid.uuid4())
    html = office.get(page_of(sent.conversation)).text
    assert "<script>alert" not in html


def test_the_shown_path_marks_messages_that_have_siblings(
    office: Client, chat: Conversation
) -> None:
    first = chat.leaf
    assert first
    assert first.stream
    end_stream(first.stream.pk, Status.DONE, "stop")
    second = retry(first, key=uuid.uuid4())
    assert second.stream
    write(second.stream, "Another answer.")
    html = office.get(page_of(chat)).text
    assert "variant 2 of 2" in html
    assert "Another answer." in html
    assert "<em>and</em>" not in html


def test_a_long_conversation_shows_its_newest_messages(office: Client, chat: Conversation) -> None:
    parent = chat.leaf
    for number in range(MESSAGES_SHOWN):
        parent = Message.objects.create(
            conversation=chat, parent=parent, role=Role.USER, content=f"turn {number} end"
        )
    chat.leaf = parent
    chat.save()
    html = office.get(page_of(chat)).text
    assert "2 older messages are not shown." in html
    assert f"turn {MESSAGES_SHOWN - 1} end" in html
    assert "<em>and</em>" not in html


def test_adding_and_changing_are_refused_also_when_posted(
    office: Client, chat: Conversation
) -> None:
    assert office.post(LIST + "add/", {"title": "x"}).status_code == 403
    assert office.post(page_of(chat), {"title": "x"}).status_code == 403
    chat.refresh_from_db()
    assert chat.title == "What is **bread**?"


@pytest.mark.parametrize("from_the_list", [False, True])
def test_deleting_hides_it_and_stops_its_answer(
    office: Client, chat: Conversation, from_the_list: bool
) -> None:
    delete = reverse("admin:conversations_conversation_delete", args=[chat.pk])
    assert "What is **bread**?" in office.get(delete).text
    if from_the_list:
        chosen = {"action": "delete_selected", "_selected_action": [chat.pk], "post": "yes"}
        assert office.post(LIST, chosen).status_code == 302
    else:
        assert office.post(delete, {"post": "yes"}).status_code == 302
    chat.refresh_from_db()
    assert chat.deleted_at
    # For good: its owner cannot bring it back.
    assert chat.leaf is None
    newest = Stream.objects.filter(message__conversation=chat).latest("created_at")
    assert newest.end_reason == "deleted"


def test_staff_without_the_permission_are_refused(
    chat: Conversation, stranger: Any, client_of: Callable[[Any], Client]
) -> None:
    stranger.is_staff = True
    stranger.save()
    assert client_of(stranger).get(page_of(chat)).status_code == 403
    stranger.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    assert client_of(stranger).get(page_of(chat)).status_code == 200


def test_nothing_on_the_pages_needs_inline_style_or_script(
    office: Client, chat: Conversation
) -> None:
    for url in (LIST, page_of(chat)):
        html = office.get(url).text
        assert "style=" not in html
        assert "<script>" not in html

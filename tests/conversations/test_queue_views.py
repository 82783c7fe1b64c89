from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from conversations import actions
from conversations.models import Conversation, Message, QueuedMessage

HTMX = {"HX-Request": "true"}


@pytest.fixture
def queued(owner) -> QueuedMessage:
    """A follow-up that waits for the answer of the owner's only chat."""
    sent = actions.start_conversation(owner, "One", key=uuid4())
    actions.send_message(sent.conversation, "Two <b>", key=uuid4())
    return QueuedMessage.objects.get()


def url(name: str, queued: QueuedMessage) -> str:
    conversation = Conversation.objects.get()
    return reverse(f"conversations:queued-{name}", args=[conversation.pk, queued.pk])


def shown() -> dict[str, int]:
    conversation = Conversation.objects.get()
    return {"version": conversation.version, "leaf": conversation.leaf_id, "first": 0}


def test_the_page_shows_what_waits_with_its_markup_as_text(client_of, owner, queued):
    html = client_of(owner).get(Conversation.objects.get().get_absolute_url()).content.decode()
    assert "Sent when the answer is done" in html
    assert '<div class="queued-text" dir="auto">Two &lt;b&gt;</div>' in html
    assert "Send now" not in html


def test_a_page_that_is_behind_is_brought_the_queue(client_of, owner, queued):
    changes = reverse("conversations:conversation-changes", args=[Conversation.objects.get().pk])
    html = client_of(owner).get(changes, shown() | {"version": 1}, headers=HTMX).content.decode()
    assert '<section id="queue"' in html
    assert 'hx-swap-oob="true"' in html
    assert f'id="queued-{queued.pk}"' in html


@pytest.mark.parametrize("name", ["edit", "withdraw", "send"])
def test_a_stranger_finds_nothing(client_of, stranger, queued, name):
    form = {"content": "Mine now", "edition": 1, "key": uuid4()}
    assert client_of(stranger).post(url(name, queued), form).status_code == 404
    assert QueuedMessage.objects.get().content == "Two <b>"


@pytest.mark.parametrize("name", ["withdraw", "send"])
def test_a_get_changes_nothing(client_of, owner, queued, name):
    assert client_of(owner).get(url(name, queued)).status_code == 405
    assert QueuedMessage.objects.exists()


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_it_is_withdrawn(client_of, owner, queued, headers):
    response = client_of(owner).post(url("withdraw", queued), shown(), headers=headers)
    assert response.status_code == (200 if headers else 302)
    assert not QueuedMessage.objects.exists()
    again = client_of(owner).post(url("withdraw", queued), shown(), headers=headers)
    assert again.status_code == 422
    assert "sent or withdrawn in the meantime" in again.content.decode()


def test_its_form_stands_in_its_place(client_of, owner, queued):
    html = client_of(owner).get(url("edit", queued), headers=HTMX).content.decode()
    assert "Two &lt;b&gt;</textarea>" in html
    plain = client_of(owner).get(url("edit", queued), follow=True)
    assert "Two &lt;b&gt;</textarea>" in plain.content.decode()


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_it_is_edited(client_of, owner, queued, headers):
    form = shown() | {"content": "Better", "edition": 1}
    response = client_of(owner).post(url("edit", queued), form, headers=headers)
    assert response.status_code == (200 if headers else 302)
    assert QueuedMessage.objects.get().content == "Better"


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
@pytest.mark.parametrize(
    ("content", "edition", "sentence"),
    [
        ("Mine", 7, "This message was changed in another tab."),
        ("", 1, "Write a message first."),
        ("x" * 32_001, 1, "32,001 characters, at most 32,000"),
    ],
)
def test_a_bad_edit_is_422_and_loses_nothing(
    client_of, owner, queued, headers, content, edition, sentence
):
    form = shown() | {"content": content, "edition": edition}
    response = client_of(owner).post(url("edit", queued), form, headers=headers)
    html = response.content.decode()
    assert response.status_code == 422
    assert sentence in html
    # The next attempt replaces what is stored now.
    assert 'name="edition" value="1"' in html
    if not headers:
        assert content in html
    assert QueuedMessage.objects.get().content == "Two <b>"


def test_an_edit_of_what_is_gone_keeps_its_text_on_the_page(client_of, owner, queued):
    gone = url("edit", queued)
    queued.delete()
    response = client_of(owner).post(gone, {"content": "Dear words", "edition": 1})
    assert response.status_code == 422
    assert "Dear words" in response.content.decode()
    assert client_of(owner).get(gone, headers=HTMX).status_code in (200, 400)


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_it_is_sent_by_hand_once(client_of, owner, queued, headers):
    actions.stop(queued.answer)
    form = shown() | {"key": uuid4()}
    target = url("send", queued)
    for _ in range(2):
        response = client_of(owner).post(target, form, headers=headers)
        assert response.status_code == (200 if headers else 302)
    assert Message.objects.filter(content="Two <b>").count() == 1
    late = client_of(owner).post(target, shown() | {"key": uuid4()}, headers=headers)
    assert late.status_code == 422


def test_the_queries_of_a_page_do_not_depend_on_the_queue(
    client_of, owner, queued, django_assert_max_num_queries
):
    for number in range(9):
        actions.send_message(Conversation.objects.get(), f"{number}", key=uuid4())
    client, address = client_of(owner), Conversation.objects.get().get_absolute_url()
    with django_assert_max_num_queries(12):
        client.get(address)

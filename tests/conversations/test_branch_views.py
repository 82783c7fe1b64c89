from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.urls import reverse

from conversations import actions, branches
from conversations.models import Conversation, Message
from tests.conversations.test_actions import finish

HTMX = {"HX-Request": "true"}


@pytest.fixture
def sent(owner):
    """A conversation of the owner with an ended answer."""
    sent = actions.start_conversation(owner, "Hello <b>", key=uuid4())
    finish(sent.answer, "First **answer**")
    return sent


def url(name: str, pk: object) -> str:
    return reverse(f"conversations:{name}", args=[pk])


def page_of(sent) -> str:
    return sent.conversation.get_absolute_url()


def shown_by(conversation: Conversation) -> dict[str, int]:
    """What a page tells that shows the conversation as it is."""
    conversation.refresh_from_db()
    return {"version": conversation.version, "leaf": conversation.leaf_id}


# --- Variants


@pytest.fixture
def second(sent):
    """The second answer to the same message, which the pages show."""
    answer = actions.retry(sent.answer, key=uuid4())
    finish(answer, "Second *answer*")
    return answer


def test_a_turn_with_one_version_has_no_switch(client_of, owner, sent):
    assert "Previous version" not in client_of(owner).get(page_of(sent)).text


def test_the_second_answer_leads_back_to_the_first(client_of, owner, sent, second):
    html = client_of(owner).get(page_of(sent)).text
    assert 'aria-label="Version 2 of 2"' in html
    assert url("message-show", sent.answer.pk) in html
    assert url("message-show", second.pk) not in html
    # There is no third: its button says so and does nothing.
    assert re.search(r'<button type="button" id="next-under-\d+"[^>]* aria-disabled="true"', html)


def test_a_running_answer_can_be_left_for_its_variant(client_of, owner, sent):
    actions.retry(sent.answer, key=uuid4())
    html = client_of(owner).get(page_of(sent)).text
    assert "Thinking…" in html
    assert url("message-show", sent.answer.pk) in html


def test_switching_brings_the_other_branch_and_takes_this_one_away(client_of, owner, sent, second):
    form = shown_by(sent.conversation)
    response = client_of(owner).post(url("message-show", sent.answer.pk), form, headers=HTMX)
    html = response.text
    assert f'hx-swap-oob="delete:#message-{second.pk}"' in html
    assert f'id="message-{sent.answer.pk}"' in html
    assert "First <strong>answer</strong>" in html
    assert f"leaf={sent.answer.pk}" in html
    assert Conversation.objects.get().leaf == sent.answer


def test_another_page_learns_of_the_switch(client_of, owner, sent, second):
    form = shown_by(sent.conversation)
    client = client_of(owner)
    client.post(url("message-show", sent.answer.pk))
    html = client.get(url("conversation-changes", sent.conversation.pk), form, headers=HTMX).text
    assert f'hx-swap-oob="delete:#message-{second.pk}"' in html
    assert "First <strong>answer</strong>" in html


def test_without_htmx_switching_leads_to_the_message(client_of, owner, sent, second):
    client = client_of(owner)
    response = client.post(url("message-show", sent.answer.pk))
    assert response.status_code == 302
    assert response.url == f"{page_of(sent)}#message-{sent.answer.pk}"
    html = client.get(page_of(sent)).text
    assert "First <strong>answer</strong>" in html
    assert "Second" not in html
    assert client.get(url("message-show", sent.answer.pk)).status_code == 405


def test_the_stop_button_is_that_of_the_shown_branch(client_of, owner, sent, second):
    running = actions.retry(second, key=uuid4())
    client = client_of(owner)
    stop = url("message-stop", running.pk)
    for message, is_there in ((sent.answer, False), (running, True)):
        form = shown_by(sent.conversation)
        html = client.post(url("message-show", message.pk), form, headers=HTMX).text
        assert (stop in html) is is_there
        assert (stop in client.get(page_of(sent)).text) is is_there


def test_a_message_sent_while_another_branch_runs_is_refused_with_its_text(
    client_of, owner, sent, second
):
    actions.retry(second, key=uuid4())
    branches.show_branch(second)
    form = {"content": "My next words", "key": uuid4()}
    create = url("message-create", sent.conversation.pk)
    response = client_of(owner).post(create, form, headers=HTMX)
    assert response.status_code == 422
    assert "My next words" in response.text
    assert "in another version of this chat" in response.text


def test_the_whole_list_comes_anew_when_the_paths_part_above_what_a_page_shows(
    client_of, owner, sent, second, monkeypatch
):
    monkeypatch.setattr("conversations.views.PAGE_MESSAGES", 2)
    newest = actions.send_message(second.conversation, "More", key=uuid4())
    finish(newest.answer, "And more")
    form = shown_by(sent.conversation)
    response = client_of(owner).post(url("message-show", sent.answer.pk), form, headers=HTMX)
    assert f'hx-swap-oob="innerHTML:#messages-{sent.conversation.pk}"' in response.text
    assert 'hx-swap-oob="delete' not in response.text
    assert "First <strong>answer</strong>" in response.text
    form = shown_by(sent.conversation)
    response = client_of(owner).post(url("message-show", second.pk), form, headers=HTMX)
    assert "Show 2 earlier messages" in response.text
    assert f'id="message-{newest.answer.pk}"' in response.text
    assert f'id="message-{second.pk}"' not in response.text


# --- Other people


def test_strangers_can_do_nothing_to_the_branches(client_of, stranger, client, sent, second):
    before = Conversation.objects.values().get(), Message.objects.count()
    for who in (client_of(stranger), client):
        for name in ("message-show",):
            for message in (sent.answer, sent.prompt):
                form = {"key": uuid4(), "content": "Mine", "rating": "good"}
                assert who.post(url(name, message.pk), form).status_code == 404
    assert (Conversation.objects.values().get(), Message.objects.count()) == before

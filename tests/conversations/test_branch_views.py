from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from conversations import actions, branches
from conversations.models import Conversation, Message
from streaming.models import Stream
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


def shown_by(conversation: Conversation, first: int = 0) -> dict[str, int]:
    """What a page tells that shows the conversation as it is, from the message `first` on."""
    conversation.refresh_from_db()
    return {"version": conversation.version, "leaf": conversation.leaf_id, "first": first}


def key_of_edit(html: str) -> str:
    return re.search(r'name="key" value="([^"]+)">\s*<p id="edit-error', html)[1]


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
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 2)
    newest = actions.send_message(second.conversation, "More", key=uuid4())
    finish(newest.answer, "And more")
    form = shown_by(sent.conversation, newest.prompt.pk)
    response = client_of(owner).post(url("message-show", sent.answer.pk), form, headers=HTMX)
    assert f'hx-swap-oob="innerHTML:#messages-{sent.conversation.pk}"' in response.text
    assert 'hx-swap-oob="delete' not in response.text
    assert "First <strong>answer</strong>" in response.text
    assert f'name="first" value="{sent.prompt.pk}"' in response.text
    # A branch that is longer than a page comes as a page too.
    form = shown_by(sent.conversation, sent.prompt.pk)
    response = client_of(owner).post(url("message-show", second.pk), form, headers=HTMX)
    # Around what was chosen.
    assert "Later messages" in response.text
    assert f'id="message-{second.pk}"' in response.text
    assert f'id="message-{newest.answer.pk}"' not in response.text
    assert f'name="last" value="{newest.prompt.pk}"' in response.text


# --- Edit


def test_the_form_stands_in_the_place_of_the_message(client_of, owner, sent):
    client = client_of(owner)
    edit = url("message-edit", sent.prompt.pk)
    assert edit in client.get(page_of(sent)).text
    html = client.get(edit, headers=HTMX).text
    assert f'<article id="message-{sent.prompt.pk}"' in html
    assert "Hello &lt;b&gt;</textarea>" in html
    assert "<html" not in html
    # Esc brings the message back.
    html = client.get(url("message-detail", sent.prompt.pk), headers=HTMX).text
    assert "<textarea" not in html
    assert "Hello &lt;b&gt;</div>" in html
    assert edit in html


def test_without_a_script_the_address_names_the_message_to_edit(client_of, owner, sent):
    client = client_of(owner)
    response = client.get(url("message-edit", sent.prompt.pk))
    assert response.url == f"{page_of(sent)}?edit={sent.prompt.pk}#message-{sent.prompt.pk}"
    html = client.get(response.url).text
    assert "Hello &lt;b&gt;</textarea>" in html
    assert f'href="{page_of(sent)}#message-{sent.prompt.pk}"' in html
    for wrong in (sent.answer.pk, 10**30, "x", ""):
        html = client.get(page_of(sent), {"edit": wrong}).text
        assert "edit-form" not in html
        assert "Hello &lt;b&gt;</div>" in html


def test_a_message_of_long_ago_can_be_edited_without_a_script(client_of, owner, sent, monkeypatch):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 2)
    finish(actions.send_message(sent.conversation, "Newer", key=uuid4()).answer, "Answer")
    html = client_of(owner).get(page_of(sent), {"edit": sent.prompt.pk}).text
    assert "Hello &lt;b&gt;</textarea>" in html


def test_an_edit_is_a_branch_with_an_answer_and_keeps_the_old_one(client_of, owner, sent):
    more = actions.send_message(sent.conversation, "More", key=uuid4())
    finish(more.answer, "And more")
    form = shown_by(sent.conversation) | {"content": "Other\r\nwords", "key": uuid4()}
    html = client_of(owner).post(url("message-edit", sent.prompt.pk), form, headers=HTMX).text
    prompt, answer = Message.objects.order_by("pk")[4:]
    assert (prompt.content, prompt.parent) == ("Other\nwords", None)
    assert answer.parent == prompt
    assert Conversation.objects.get().leaf == answer
    for gone in (sent.prompt, sent.answer, more.prompt, more.answer):
        assert f'hx-swap-oob="delete:#message-{gone.pk}"' in html
    added = html.split('hx-swap-oob="beforeend:')[1]
    assert f'id="message-{prompt.pk}"' in added
    assert f'id="message-{answer.pk}"' in added
    assert 'aria-label="Version 2 of 2"' in added
    assert Message.objects.filter(pk=more.answer.pk, content="And more").exists()


def test_an_edit_in_the_middle_is_a_sibling_there(client_of, owner, sent):
    more = actions.send_message(sent.conversation, "More", key=uuid4())
    finish(more.answer, "And more")
    form = {"content": "Less", "key": uuid4()}
    response = client_of(owner).post(url("message-edit", more.prompt.pk), form)
    prompt = Message.objects.get(content="Less")
    assert prompt.parent == sent.answer
    assert response.url == f"{page_of(sent)}#message-{prompt.pk}"


def test_an_edit_sent_twice_is_one_branch(client_of, owner, sent):
    client = client_of(owner)
    form = shown_by(sent.conversation) | {"content": "Other words", "key": uuid4()}
    for _ in range(2):
        html = client.post(url("message-edit", sent.prompt.pk), form, headers=HTMX).text
        # Also from a page that lost the first answer, and was told of the branch meanwhile.
        assert f'hx-swap-oob="delete:#message-{sent.prompt.pk}"' in html
        form |= shown_by(sent.conversation)
    assert Message.objects.count() == 4


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("content", "key", "sentence"),
    [
        ("   ", "good", "Write a message first."),
        ("x" * 32_001, "good", "The message is too long: 32,001 characters"),
        ("Other words", "", "This form is out of date."),
    ],
)
def test_a_bad_edit_gets_a_sentence_in_place_and_a_fresh_key(
    client_of, owner, sent, headers, content, key, sentence
):
    form = {"content": content, "key": uuid4() if key == "good" else key}
    response = client_of(owner).post(url("message-edit", sent.prompt.pk), form, headers=headers)
    assert response.status_code == 422
    assert re.search(rf'id="edit-error-{sent.prompt.pk}"[^>]*>{re.escape(sentence)}', response.text)
    assert key_of_edit(response.text) != str(form["key"])
    if headers:
        # The text stays in the page's own field, which is not touched.
        assert response["HX-Retarget"] == f"#edit-status-{sent.prompt.pk}"
        assert "<textarea" not in response.text
    else:
        assert f"{content}</textarea>" in response.text
        assert response.text.count('class="edit-form"') == 1
    assert Message.objects.count() == 2


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_edit_while_an_answer_runs_is_refused_with_its_text(client_of, owner, sent, headers):
    actions.retry(sent.answer, key=uuid4())
    form = {"content": "Other words", "key": uuid4()}
    response = client_of(owner).post(url("message-edit", sent.prompt.pk), form, headers=headers)
    assert response.status_code == 422
    assert "An answer is still running." in response.text
    assert headers or "Other words</textarea>" in response.text
    assert Message.objects.count() == 3


def test_two_tabs_that_edit_the_same_message_lose_nothing(client_of, owner, sent):
    client = client_of(owner)
    edit = url("message-edit", sent.prompt.pk)
    client.post(edit, {"content": "From the first tab", "key": uuid4()})
    second = {"content": "From the second tab", "key": uuid4()}
    # Without a script the page of the other branch holds the form all the same.
    response = client.post(edit, second)
    assert response.status_code == 422
    assert "From the second tab</textarea>" in response.text
    assert "From the first tab</div>" in response.text
    finish(Message.objects.latest("pk"), "Answer")
    html = client.post(edit, shown_by(sent.conversation) | second, headers=HTMX).text
    assert f'hx-swap-oob="delete:#message-{sent.prompt.pk}"' in html
    assert 'aria-label="Version 3 of 3"' in html
    # What is cancelled in a page that shows another branch is simply gone.
    assert client.get(url("message-detail", sent.prompt.pk), headers=HTMX).text == ""


def test_an_answer_is_not_edited(client_of, owner, sent):
    client = client_of(owner)
    edit = url("message-edit", sent.answer.pk)
    assert client.get(edit).status_code == 404
    assert client.post(edit, {"content": "Mine", "key": uuid4()}).status_code == 404


def test_a_page_with_a_form_to_edit_takes_as_many_queries(client_of, owner, sent):
    client = client_of(owner)
    with CaptureQueriesContext(connection) as plain:
        client.get(page_of(sent))
    with CaptureQueriesContext(connection) as editing:
        client.get(page_of(sent), {"edit": sent.prompt.pk})
    assert len(editing) == len(plain) <= 12


# --- Fork


def test_a_chat_is_forked_at_an_answer(client_of, owner, sent):
    actions.send_message(sent.conversation, "More", key=uuid4())
    client = client_of(owner)
    fork = url("message-fork", sent.answer.pk)
    assert fork in client.get(page_of(sent)).text
    response = client.post(fork, {"key": uuid4()})
    forked = Conversation.objects.exclude(pk=sent.conversation.pk).get()
    assert (response.status_code, response.url) == (302, forked.get_absolute_url())
    html = client.get(response.url).text
    assert "Fork of Hello" in html
    assert "Hello &lt;b&gt;</div>" in html
    assert "First <strong>answer</strong>" in html
    assert ">More</div>" not in html
    assert client.get(fork).status_code == 405


def test_a_fork_by_htmx_opens_its_page(client_of, owner, sent):
    response = client_of(owner).post(
        url("message-fork", sent.answer.pk), {"key": uuid4()}, headers=HTMX
    )
    forked = Conversation.objects.exclude(pk=sent.conversation.pk).get()
    assert response["HX-Push-Url"] == forked.get_absolute_url()
    assert response["HX-Retarget"] == "#main"
    assert f'id="messages-{forked.pk}"' in response.text


def test_a_form_to_fork_acts_once_and_not_without_its_key(client_of, owner, sent):
    client, form = client_of(owner), {"key": uuid4()}
    fork = url("message-fork", sent.answer.pk)
    assert len({client.post(fork, form).url for _ in range(2)}) == 1
    assert Conversation.objects.count() == 2
    for headers in ({}, HTMX):
        response = client.post(fork, {"key": ""}, headers=headers)
        assert response.status_code == 422
        assert "out of date" in response.text


def test_a_running_answer_is_not_forked(client_of, owner, sent):
    running = actions.retry(sent.answer, key=uuid4())
    response = client_of(owner).post(
        url("message-fork", running.pk), {"key": uuid4()}, headers=HTMX
    )
    assert response.status_code == 422
    assert "Wait until it has ended." in response.text
    assert response["HX-Retarget"] == "#composer-error"
    assert Conversation.objects.count() == 1


# --- Rating


def test_an_answer_is_rated_with_a_word_and_the_rating_is_taken_back(client_of, owner, sent):
    client = client_of(owner)
    rate = url("message-rate", sent.answer.pk)
    html = client.post(rate, shown_by(sent.conversation) | {"rating": "bad"}, headers=HTMX).text
    assert f'id="rating-{sent.answer.pk}" class="rating" hx-swap-oob="true"' in html
    assert re.search(rf'id="bad-{sent.answer.pk}"[^>]* value="" aria-pressed="true"', html)
    assert re.search(rf'id="good-{sent.answer.pk}"[^>]* value="good" aria-pressed="false"', html)
    assert 'name="word"' in html
    # The text of the answer is left alone.
    assert f'id="message-{sent.answer.pk}"' not in html
    word = shown_by(sent.conversation) | {"rating": "bad", "word": "Too short"}
    html = client.post(rate, word, headers=HTMX).text
    assert "Thank you." in html
    assert 'name="word"' not in html
    answer = Message.objects.get(pk=sent.answer.pk)
    assert (answer.rating, answer.rating_word) == ("bad", "Too short")
    assert "You wrote: Too short" in client.get(page_of(sent)).text
    html = client.post(rate, shown_by(sent.conversation) | {"rating": ""}, headers=HTMX).text
    assert 'aria-pressed="true"' not in html
    answer = Message.objects.get(pk=sent.answer.pk)
    assert (answer.rating, answer.rating_word) == ("", "")


def test_another_page_learns_of_a_rating_alone(client_of, owner, sent):
    client = client_of(owner)
    shown = shown_by(sent.conversation)
    client.post(url("message-rate", sent.answer.pk), {"rating": "good"})
    changes = url("conversation-changes", sent.conversation.pk)
    html = client.get(changes, shown, headers=HTMX).text
    assert re.search(rf'id="good-{sent.answer.pk}"[^>]* aria-pressed="true"', html)
    assert 'name="word"' not in html
    assert f'id="message-{sent.answer.pk}"' not in html
    html = client.get(changes, shown_by(sent.conversation), headers=HTMX).text
    assert "rating-" not in html


def test_a_page_that_does_not_reach_so_far_back_learns_nothing_of_a_rating(
    client_of, owner, sent, monkeypatch
):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 2)
    newer = actions.send_message(sent.conversation, "More", key=uuid4())
    finish(newer.answer, "And more")
    client = client_of(owner)
    assert f'name="first" value="{newer.prompt.pk}"' in client.get(page_of(sent)).text
    every = client.get(f"{page_of(sent)}?at={sent.prompt.pk}").text
    assert f'name="first" value="{sent.prompt.pk}"' in every
    shown = shown_by(sent.conversation)
    client.post(url("message-rate", sent.answer.pk), {"rating": "good"})
    changes = url("conversation-changes", sent.conversation.pk)
    for first, is_told in ((sent.prompt.pk, True), (newer.prompt.pk, False)):
        html = client.get(changes, shown | {"first": first}, headers=HTMX).text
        assert (f'id="rating-{sent.answer.pk}"' in html) is is_told
        assert f'name="first" value="{first}"' in html


def test_an_answer_is_rated_without_a_script(client_of, owner, sent):
    client = client_of(owner)
    rate = url("message-rate", sent.answer.pk)
    response = client.post(rate, {"rating": "good"})
    assert response.url == f"{page_of(sent)}?rated={sent.answer.pk}#message-{sent.answer.pk}"
    assert client.get(response.url).text.count('name="word"') == 1
    assert 'name="word"' not in client.get(page_of(sent), {"rated": "9" * 5000}).text
    response = client.post(rate, {"rating": "good", "word": "Clear"})
    assert response.url == f"{page_of(sent)}#message-{sent.answer.pk}"
    assert 'name="word"' not in client.get(response.url).text


@pytest.mark.parametrize(
    ("form", "sentence", "place"),
    [
        ({"rating": "good", "word": "x" * 501}, "Use at most 500 characters.", "word-error"),
        ({"rating": "great"}, "great is not one of the available choices", "composer-error"),
    ],
)
def test_a_bad_rating_gets_a_sentence_in_place(client_of, owner, sent, form, sentence, place):
    rate = url("message-rate", sent.answer.pk)
    client = client_of(owner)
    response = client.post(rate, form, headers=HTMX)
    assert response.status_code == 422
    assert sentence in response.text
    assert response["HX-Retarget"].startswith(f"#{place}")
    response = client.post(rate, form)
    assert response.status_code == 422
    assert sentence in response.text
    assert not Message.objects.exclude(rating="").exists()


def test_only_answers_are_rated(client_of, owner, sent):
    rate = url("message-rate", sent.prompt.pk)
    assert client_of(owner).post(rate, {"rating": "good"}).status_code == 404
    with pytest.raises(IntegrityError):
        Message.objects.filter(pk=sent.prompt.pk).update(rating="good")


# --- What an answer was, and its text


def test_more_tells_the_model_the_time_the_tokens_and_the_duration(client_of, owner, sent):
    began = timezone.now()
    Message.objects.filter(pk=sent.answer.pk).update(
        model="gone:model-7", usage={"prompt_tokens": 1234, "completion_tokens": 56}
    )
    for seconds, words in ((12.34, "12.3 s"), (125, "2 min 5 s")):
        ended = began + timedelta(seconds=seconds)
        Stream.objects.update(start_requested_at=began, ended_at=ended)
        html = client_of(owner).get(page_of(sent)).text
        facts = html.split('class="facts"')[1].split("</ul>")[0]
        assert "model-7" in facts
        assert "1,234 tokens read, 56 written" in facts
        assert f"· {words}" in facts
        assert '<time datetime="' in facts


def test_a_forked_answer_keeps_what_it_was_but_no_duration(client_of, owner, sent):
    client = client_of(owner)
    long_ago = timezone.now() - timedelta(days=400)
    Message.objects.update(created_at=long_ago, usage={"prompt_tokens": 7, "completion_tokens": 8})
    page = client.post(url("message-fork", sent.answer.pk), {"key": uuid4()}).url
    facts = client.get(page).text.split('class="facts"')[1].split("</ul>")[0]
    assert "7 tokens read, 8 written" in facts
    assert str(long_ago.year) in facts
    assert "·" not in facts


def test_the_text_is_what_was_written(client_of, owner, sent):
    client = client_of(owner)
    response = client.get(url("message-text", sent.answer.pk))
    assert response.text == "First **answer**"
    assert response["Content-Type"] == "text/markdown; charset=utf-8"
    assert client.get(url("message-text", sent.prompt.pk)).text == "Hello <b>"
    assert client.post(url("message-text", sent.prompt.pk)).status_code == 405
    running = actions.retry(sent.answer, key=uuid4())
    running.stream.chunks.create(start=0, text="So *far*", epoch=0, created_at=timezone.now())
    Stream.objects.filter(pk=running.stream_id).update(length=8)
    assert client.get(url("message-text", running.pk)).text == "So *far*"


# --- Other people


def test_strangers_can_do_nothing_to_the_branches(client_of, stranger, client, sent, second):
    before = Conversation.objects.values().get(), Message.objects.count()
    for who in (client_of(stranger), client):
        for name in ("message-show", "message-edit", "message-fork", "message-rate"):
            for message in (sent.answer, sent.prompt):
                form = {"key": uuid4(), "content": "Mine", "rating": "good"}
                assert who.post(url(name, message.pk), form).status_code == 404
        for name in ("message-edit", "message-detail", "message-text"):
            assert who.get(url(name, sent.prompt.pk)).status_code == 404
    assert (Conversation.objects.values().get(), Message.objects.count()) == before

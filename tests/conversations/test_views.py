from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from conversations import actions, keeping
from conversations.models import Conversation, Message
from conversations.submissions import Sent
from streaming.actions import end_stream
from streaming.models import EndReason, Status, Stream
from streaming.tails import render_foot

HTMX = {"HX-Request": "true"}


@pytest.fixture
def sent(owner):
    """A conversation of the owner whose answer runs."""
    return actions.start_conversation(owner, "Hello <b>", key=uuid4())


def finish(message: Message, text: str, status=Status.DONE, reason=EndReason.COMPLETE) -> None:
    message.stream.chunks.create(start=0, text=text, epoch=0, created_at=message.created_at)
    Stream.objects.filter(pk=message.stream_id).update(length=len(text))
    assert end_stream(message.stream_id, status, reason) is not None


def key_in(html: str) -> UUID:
    return UUID(re.search(r'name="key" value="([^"]+)" form="composer"', html)[1])


def send_url(sent: Sent) -> str:
    return reverse("conversations:message-create", args=[sent.conversation.pk])


# --- The start page


def test_the_start_page_invites_a_stranger_to_write(client, db):
    response = client.get("/")
    html = response.content.decode()
    assert response.status_code == 200
    assert "An AI chat whose answers are never lost." in html
    assert "Sign in anonymously" in html
    assert html.count('class="example"') == 3
    assert get_user_model().objects.count() == 0


def test_no_cache_keeps_a_page(client, db):
    response = client.get("/")
    assert response["Cache-Control"] == "private, no-store"
    assert {"Cookie", "HX-Request"} <= {part.strip() for part in response["Vary"].split(",")}


def test_the_start_page_lists_the_chats_by_last_activity(client_of, owner, stranger):
    older = actions.start_conversation(owner, "Older one", key=uuid4())
    actions.start_conversation(owner, "Newer one", key=uuid4())
    actions.start_conversation(stranger, "Not mine", key=uuid4())
    finish(older.answer, "Done")
    html = client_of(owner).get("/").content.decode()
    assert html.index("Newer one") < html.index("Older one")
    assert "Not mine" not in html
    actions.send_message(older.conversation, "Again", key=uuid4())
    html = client_of(owner).get("/").content.decode()
    assert html.index("Older one") < html.index("Newer one")


def test_an_empty_sidebar_says_how_to_begin(client_of, owner):
    assert "No conversations yet" in client_of(owner).get("/").content.decode()


# --- The first message


def test_a_first_message_makes_a_guest_and_opens_the_chat(client, db):
    page = client.get("/").content.decode()
    response = client.post("/c/", {"content": "Hello", "key": key_in(page)})
    conversation = Conversation.objects.get()
    assert response.status_code == 302
    assert response.url == conversation.get_absolute_url()
    assert conversation.owner.is_guest
    assert client.get(response.url).status_code == 200


def test_a_first_message_by_htmx_loads_the_new_guest_s_page(client, db):
    client.get("/")
    response = client.post("/c/", {"content": "Hello", "key": uuid4()}, headers=HTMX)
    assert response["HX-Redirect"] == Conversation.objects.get().get_absolute_url()


def test_a_first_message_by_htmx_puts_the_chat_into_the_page(client_of, owner):
    response = client_of(owner).post("/c/", {"content": "Hello", "key": uuid4()}, headers=HTMX)
    html = response.content.decode()
    assert response["HX-Push-Url"] == Conversation.objects.get().get_absolute_url()
    assert response["HX-Retarget"] == "#main"
    assert "<html" not in html
    assert 'data-status="pending"' in html


@pytest.mark.django_db(transaction=True)
def test_the_same_form_ten_times_at_once_is_one_guest_one_message_one_answer():
    first = Client()
    first.get("/")
    key = str(uuid4())

    def post(_: int) -> tuple[int, str]:
        client = Client()
        client.cookies["guest"] = first.cookies["guest"].value
        try:
            response = client.post("/c/", {"content": "Hello", "key": key})
            return response.status_code, response.url
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        answers = set(pool.map(post, range(10)))
    assert len(answers) == 1
    assert {status for status, _url in answers} == {302}
    assert get_user_model().objects.count() == 1
    assert Message.objects.count() == 2
    assert Stream.objects.count() == 1


@pytest.mark.parametrize("content", ["", "   \n ", "x" * 32_001, "nul \x00 character"])
def test_a_bad_first_message_gets_422_its_text_and_a_fresh_key_and_makes_no_guest(
    client, db, content
):
    page = client.get("/").content.decode()
    key = key_in(page)
    response = client.post("/c/", {"content": content, "key": key})
    html = response.content.decode()
    assert response.status_code == 422
    assert key_in(html) != key
    assert re.search(r'role="alert">\s*[A-Z]', html)
    if content.strip():
        assert content[:100].replace("\x00", "") in html.replace("\x00", "")
    assert get_user_model().objects.count() == Conversation.objects.count() == 0


def test_only_post_starts_a_chat(client, db):
    assert client.get("/c/").status_code == 405


def test_a_form_without_the_csrf_token_is_refused(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    response = client.post("/c/", {"content": "Hello", "key": uuid4()})
    assert response.status_code == 403
    assert "out of date" in response.content.decode()
    assert not Conversation.objects.exists()


# --- A chat's page


def test_the_page_shows_the_messages_escaped_and_the_running_stream(client_of, owner, sent):
    html = client_of(owner).get(sent.conversation.get_absolute_url()).content.decode()
    assert "Hello &lt;b&gt;" in html
    assert f'data-stream="{sent.answer.stream_id}"' in html
    assert "Thinking…" in html
    assert reverse("conversations:message-stop", args=[sent.answer.pk]) in html


def test_an_ended_answer_is_rendered_and_can_be_retried(client_of, owner, sent):
    finish(sent.answer, "Some **bold** <script>alert(1)</script> text")
    html = client_of(owner).get(sent.conversation.get_absolute_url()).content.decode()
    assert "<strong>bold</strong>" in html
    assert "<script>alert" not in html
    assert reverse("conversations:message-retry", args=[sent.answer.pk]) in html
    assert reverse("conversations:message-continue", args=[sent.answer.pk]) not in html
    assert "data-stream=" not in html


@pytest.mark.parametrize(
    ("status", "reason", "sentence"),
    [
        (Status.STOPPED, EndReason.USER, "Stopped."),
        (Status.TIMEOUT, EndReason.LOST, "Interrupted: the server restarted."),
        (Status.ERROR, EndReason.RATE_LIMIT, "The provider refused: rate limit reached."),
    ],
)
def test_a_cut_answer_keeps_its_text_and_says_why(client_of, owner, sent, status, reason, sentence):
    finish(sent.answer, "Half an answer", status, reason)
    html = client_of(owner).get(sent.conversation.get_absolute_url()).content.decode()
    assert "Half an answer" in html
    assert sentence in html
    assert "Retry" in html
    assert reverse("conversations:message-continue", args=[sent.answer.pk]) in html


def test_the_page_says_what_was_left_out(client_of, owner, sent):
    Stream.objects.update(result={"left_out": 4})
    finish(sent.answer, "Text")
    html = client_of(owner).get(sent.conversation.get_absolute_url()).content.decode()
    assert "The oldest 4 messages did not fit" in html


def test_a_stranger_gets_the_404_of_a_chat_that_does_not_exist(client_of, stranger, client, sent):
    url = sent.conversation.get_absolute_url()
    wrong = reverse("conversations:conversation-detail", args=[uuid4()])
    answers = [
        (client_of(stranger).get(url)),
        (client_of(stranger).get(wrong)),
        (client.get(url)),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_a_stranger_can_do_nothing_to_a_chat(client_of, stranger, client, sent):
    detail, answer = sent.conversation.pk, sent.answer.pk
    for who in (client_of(stranger), client):
        form = {"content": "Hi", "key": uuid4(), "model": "echo:echo"}
        for name, pk in [
            ("message-create", detail),
            ("conversation-model", detail),
            ("message-retry", answer),
            ("message-continue", answer),
            ("message-stop", answer),
        ]:
            assert who.post(reverse(f"conversations:{name}", args=[pk]), form).status_code == 404
        changes = reverse("conversations:conversation-changes", args=[detail])
        assert who.get(changes, {"version": 0, "leaf": 0}).status_code == 404
    assert Message.objects.count() == 2
    assert Stream.objects.open().count() == 1


def test_a_deleted_chat_is_gone_for_its_owner(client_of, owner, sent):
    Conversation.objects.update(deleted_at=sent.prompt.created_at)
    assert client_of(owner).get(sent.conversation.get_absolute_url()).status_code == 404


def test_a_chat_is_deleted_once(client_of, owner, sent):
    client = client_of(owner)
    url = reverse("conversations:conversation-delete", args=[sent.conversation.pk])
    assert client.post(url).status_code == 302
    assert client.get(sent.conversation.get_absolute_url()).status_code == 404
    assert client.post(url).status_code == 404
    assert Stream.objects.get().end_reason == EndReason.DELETED


def test_a_message_to_a_chat_that_is_deleted_meanwhile_gets_a_sentence_and_its_text(
    client_of, owner, sent, monkeypatch
):
    """The chat goes after the view has looked it up."""
    send_message = actions.send_message

    def delete_first(conversation, content, *, key):
        keeping.delete_conversation(Conversation.objects.get(pk=conversation.pk))
        return send_message(conversation, content, key=key)

    monkeypatch.setattr(actions, "send_message", delete_first)
    data = {"content": "too late", "key": uuid4()}
    response = client_of(owner).post(send_url(sent), data, headers=HTMX)
    assert response.status_code == 422
    assert "This chat was deleted." in response.text
    assert "too late" in response.text


def test_a_page_costs_the_same_queries_however_long_the_chat(client_of, owner, sent):
    client = client_of(owner)
    url = sent.conversation.get_absolute_url()
    finish(sent.answer, "One")

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    short = count()
    for n in range(5):
        newest = actions.send_message(sent.conversation, f"Message {n}", key=uuid4())
        finish(newest.answer, f"Answer {n}")
        actions.start_conversation(owner, f"Chat {n}", key=uuid4())
    assert count() == short <= 12


def test_a_long_chat_shows_its_newest_messages_first(client_of, owner, sent, monkeypatch):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 2)
    finish(sent.answer, "One")
    actions.send_message(sent.conversation, "The newest", key=uuid4())
    url = sent.conversation.get_absolute_url()
    html = client_of(owner).get(url).content.decode()
    assert f"?before={Message.objects.get(content='The newest').pk}" in html
    assert "Hello &lt;b&gt;" not in html.split('id="messages-')[1]
    earlier = {"before": Message.objects.get(content="The newest").pk}
    html = client_of(owner).get(url, earlier).content.decode().split('id="messages-')[1]
    assert "Hello &lt;b&gt;" in html
    assert "The newest" not in html
    # It does not reach the end, says so, and leads there.
    assert f'name="last" value="{sent.answer.pk}"' in html
    assert f"?after={sent.answer.pk}" in html
    assert "Earlier messages" not in html
    assert client_of(owner).get(url, {"before": "9" * 5000}).status_code == 200


@pytest.fixture
def long_chat(owner, sent) -> list[int]:
    """The path of a chat of five turns."""
    finish(sent.answer, "Answer 0")
    for n in range(1, 5):
        newest = actions.send_message(sent.conversation, f"Message {n}", key=uuid4())
        finish(newest.answer, f"Answer {n}")
        sent.conversation.refresh_from_db()
    return list(Message.objects.order_by("pk").values_list("pk", flat=True))


def messages_in(html: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'<article id="message-(\d+)"', html)]


def shown_from(pks: list[int], first: int, last: int = 0) -> dict[str, int]:
    version = Conversation.objects.get().version
    return {"version": version, "leaf": pks[-1], "first": first, "last": last}


def test_earlier_and_later_messages_come_a_page_at_a_time(
    client_of, owner, stranger, sent, long_chat, monkeypatch
):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 4)
    pks = long_chat
    earlier, later = (
        reverse(f"conversations:conversation-{which}", args=[sent.conversation.pk])
        for which in ("earlier", "later")
    )
    client = client_of(owner)
    html = client.get(earlier, shown_from(pks, pks[6]), headers=HTMX).content.decode()
    assert messages_in(html) == pks[2:6]
    assert f'name="first" value="{pks[2]}"' in html
    assert 'name="last" value="0"' in html
    assert "Earlier messages" in html
    html = client.get(earlier, shown_from(pks, pks[2]), headers=HTMX).content.decode()
    assert messages_in(html) == pks[:2]
    assert "Earlier messages" not in html
    shown = shown_from(pks, pks[0], pks[3])
    html = client.get(later, shown, headers=HTMX).content.decode()
    assert messages_in(html) == pks[4:8]
    assert f'name="last" value="{pks[7]}"' in html
    assert f'data-version="{shown["version"]}"' in html
    assert "Later messages" in html
    html = client.get(later, shown_from(pks, pks[0], pks[7]), headers=HTMX).content.decode()
    assert messages_in(html) == pks[8:]
    assert 'name="last" value="0"' in html
    assert "Later messages" not in html
    # Without a script there is nothing but pages; a stranger learns nothing.
    assert client.get(earlier, shown).url == sent.conversation.get_absolute_url()
    assert client.post(earlier, shown, headers=HTMX).status_code == 405
    assert client.get(earlier, {"version": "x"}, headers=HTMX).status_code == 400
    assert client_of(stranger).get(later, shown, headers=HTMX).status_code == 404


def test_a_page_that_does_not_reach_the_end_gets_nothing_put_under_it(
    client_of, owner, sent, long_chat, monkeypatch
):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 4)
    pks = long_chat
    client = client_of(owner)
    shown = shown_from(pks, pks[0], pks[3])
    changes = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    newest = actions.send_message(sent.conversation, "Elsewhere", key=uuid4())
    html = client.get(changes, shown, headers=HTMX).content.decode()
    assert messages_in(html) == []
    assert f'name="last" value="{pks[3]}"' in html
    assert f'name="leaf" value="{newest.answer.pk}"' in html
    # Stop is offered wherever one reads.
    assert "stop-form" in html
    # Who sends a message from there reads on at its answer.
    finish(newest.answer, "Done")
    form = {"content": "Here", "key": str(uuid4())}
    html = client.post(
        reverse("conversations:message-create", args=[sent.conversation.pk]),
        form | shown,
        headers=HTMX,
    ).content.decode()
    assert 'hx-swap-oob="innerHTML:#messages-' in html
    assert messages_in(html)[-1] == Message.objects.latest("pk").pk
    assert 'name="last" value="0"' in html
    assert "stop-form" in html


def test_a_jump_opens_the_page_around_its_message(client_of, owner, sent, long_chat, monkeypatch):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 5)
    url = sent.conversation.get_absolute_url()
    pks = long_chat
    for name in ("at", "rated"):
        html = client_of(owner).get(url, {name: pks[3]}).content.decode()
        assert messages_in(html) == pks[2:7]
    html = client_of(owner).get(url, {"edit": pks[0]}).content.decode()
    assert messages_in(html) == pks[:5]
    assert 'class="edit-form"' in html


# --- Sending in a chat


def test_a_message_without_htmx_leads_back_to_the_page(client_of, owner, sent):
    finish(sent.answer, "One")
    response = client_of(owner).post(send_url(sent), {"content": "Two", "key": uuid4()})
    assert (response.status_code, response.url) == (302, sent.conversation.get_absolute_url())


def test_a_message_by_htmx_brings_what_the_page_lacks(client_of, owner, sent):
    finish(sent.answer, "One")
    form = {
        "content": "Two\r\nthree",
        "key": uuid4(),
        "version": sent.answer.version,
        "leaf": sent.answer.pk,
    }
    html = client_of(owner).post(send_url(sent), form, headers=HTMX).content.decode()
    prompt, answer = Message.objects.order_by("pk")[2:]
    assert prompt.content == "Two\nthree"
    added = html.split(f'hx-swap-oob="beforeend:#messages-{sent.conversation.pk}"')[1]
    assert f'id="message-{prompt.pk}"' in added
    assert f'id="message-{answer.pk}"' in added
    assert f'id="message-{sent.answer.pk}"' not in html
    assert key_in(html) != form["key"]
    assert f"leaf={answer.pk}" in html


def test_only_an_accepted_message_brings_the_composer_another_key(client_of, owner, sent):
    finish(sent.answer, "One")
    shown = {"version": 0, "leaf": sent.answer.pk}
    client = client_of(owner)
    changes = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    assert "composer-status" not in client.get(changes, shown, headers=HTMX).content.decode()
    retry = reverse("conversations:message-retry", args=[sent.answer.pk])
    html = client.post(retry, shown | {"key": uuid4()}, headers=HTMX).content.decode()
    assert "composer-status" not in html


def test_a_message_that_cannot_wait_is_refused_with_its_text(client_of, owner, sent):
    for _ in range(10):
        actions.send_message(sent.conversation, "Waits", key=uuid4())
    form = {"content": "My next words", "key": uuid4()}
    for headers in ({}, HTMX):
        response = client_of(owner).post(send_url(sent), form, headers=headers)
        html = response.content.decode()
        assert response.status_code == 422
        assert "10 messages are already waiting." in html
        assert "My next words" in html
        assert key_in(html) != form["key"]
    assert Message.objects.count() == 2


def test_another_text_under_the_same_key_gets_422_and_comes_back(client_of, owner, sent):
    finish(sent.answer, "One")
    key = uuid4()
    client = client_of(owner)
    assert client.post(send_url(sent), {"content": "Two", "key": key}).status_code == 302
    response = client.post(send_url(sent), {"content": "Other words", "key": key})
    assert response.status_code == 422
    assert "Other words" in response.content.decode()
    assert not Message.objects.filter(content="Other words").exists()


def test_a_form_without_a_key_gets_422_and_its_text(client_of, owner, sent):
    finish(sent.answer, "One")
    for key in ("", "not-a-key"):
        response = client_of(owner).post(send_url(sent), {"content": "Two words", "key": key})
        assert response.status_code == 422
        assert "Two words" in response.content.decode()


def test_a_locked_database_is_503_with_the_text_kept(client_of, owner, sent):
    """The database's own refusal; `tests/e2e/test_bad_input.py` really locks one."""

    def locked(execute, sql, params, many, context):
        if sql.startswith("INSERT"):
            raise OperationalError("database is locked")
        return execute(sql, params, many, context)

    finish(sent.answer, "One")
    form = {"content": "My words", "key": uuid4()}
    client = client_of(owner)
    with connection.execute_wrapper(locked):
        response = client.post(send_url(sent), form, headers=HTMX)
    assert response.status_code == 503
    assert response["Retry-After"]
    assert "My words" in response.content.decode()


# --- Retry, stop, model


def test_a_retry_replaces_the_answer_in_the_page_and_keeps_it_in_the_tree(client_of, owner, sent):
    finish(sent.answer, "One")
    url = reverse("conversations:message-retry", args=[sent.answer.pk])
    form = {"key": uuid4(), "version": 9, "leaf": sent.answer.pk}
    html = client_of(owner).post(url, form, headers=HTMX).content.decode()
    newest = Message.objects.latest("pk")
    assert f'hx-swap-oob="delete:#message-{sent.answer.pk}"' in html
    assert f'id="message-{newest.pk}"' in html
    assert newest.parent == sent.prompt
    assert Message.objects.filter(pk=sent.answer.pk, content="One").exists()


def test_a_retry_while_an_answer_runs_is_refused(client_of, owner, sent):
    url = reverse("conversations:message-retry", args=[sent.answer.pk])
    response = client_of(owner).post(url, {"key": uuid4()}, headers=HTMX)
    assert response.status_code == 422
    assert "still running" in response.content.decode()


# --- Continue


@pytest.fixture
def cut(sent):
    """The owner's answer, cut in mid-text; the URL that continues it."""
    finish(sent.answer, "Half an **answer**", Status.ERROR, EndReason.CUT)
    return reverse("conversations:message-continue", args=[sent.answer.pk])


def test_a_continued_answer_stands_in_its_place_with_its_text_at_once(client_of, owner, sent, cut):
    shown = {"version": sent.answer.version, "leaf": sent.answer.pk}
    html = client_of(owner).post(cut, shown | {"key": uuid4()}, headers=HTMX).content.decode()
    stream = Stream.objects.get()
    assert f'<article id="message-{sent.answer.pk}"' in html
    assert 'hx-swap-oob="true"' in html
    assert f'data-stream="{stream.pk}"' in html
    assert "<strong>answer</strong>" in html
    assert 'hx-swap-oob="delete' not in html
    # It runs: it may be stopped, and is not offered to go on.
    assert reverse("conversations:message-stop", args=[sent.answer.pk]) in html
    assert cut not in html


def test_another_page_of_the_chat_learns_of_the_continued_answer(client_of, owner, sent, cut):
    client = client_of(owner)
    client.post(cut, {"key": uuid4()})
    changes = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    shown = {"version": sent.answer.version, "leaf": sent.answer.pk}
    html = client.get(changes, shown, headers=HTMX).content.decode()
    assert f'data-stream="{Stream.objects.get().pk}"' in html
    assert "<strong>answer</strong>" in html


def test_an_answer_is_continued_without_script(client_of, owner, sent, cut):
    client = client_of(owner)
    response = client.post(cut, {"key": uuid4()})
    assert (response.status_code, response.url) == (302, sent.conversation.get_absolute_url())
    html = client.get(response.url).content.decode()
    assert "<strong>answer</strong>" in html
    assert f'data-stream="{Stream.objects.get().pk}"' in html
    assert client.get(cut).status_code == 405


def test_a_form_to_continue_that_is_sent_twice_acts_once(client_of, owner, sent, cut):
    client, key = client_of(owner), uuid4()
    assert [client.post(cut, {"key": key}).status_code for _ in range(2)] == [302, 302]
    assert Stream.objects.count() == 1


def test_a_form_to_continue_without_a_key_or_in_vain_gets_a_sentence(client_of, owner, sent, cut):
    client = client_of(owner)
    for headers in ({}, HTMX):
        response = client.post(cut, {"key": ""}, headers=headers)
        assert response.status_code == 422
        assert "out of date" in response.content.decode()
    client.post(cut, {"key": uuid4()})
    response = client.post(cut, {"key": uuid4()}, headers=HTMX)
    assert (response.status_code, response["HX-Retarget"]) == (422, "#composer-error")
    assert "still running" in response.content.decode()
    finish_stream(sent)
    for headers in ({}, HTMX):
        response = client.post(cut, {"key": uuid4()}, headers=headers)
        assert response.status_code == 422
        assert "cannot be continued" in response.content.decode()


def finish_stream(sent) -> None:
    """End the answer with what it has."""
    assert end_stream(Stream.objects.get().pk, Status.DONE, EndReason.COMPLETE) is not None


def test_the_foot_of_an_end_is_told_by_two_queries(owner, sent, cut):
    answer = actions.continue_answer(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    ended = end_stream(answer.stream_id, Status.STOPPED, EndReason.USER)
    with CaptureQueriesContext(connection) as queries:
        assert cut in render_foot(Stream.objects.get(pk=ended.pk))
    # The row, and its message with the conversation.
    assert len(queries) == 2


@pytest.mark.parametrize("shown", ["page", "changes"])
def test_a_page_offers_to_stop_only_what_it_shows_as_running(client_of, owner, sent, shown):
    """The answer ends between the view's look at the conversation and at its messages."""

    def end_before_messages(execute, sql, params, many, context):
        nonlocal ended
        if not ended and sql.startswith('SELECT "conversations_message"."id" AS "pk"'):
            ended = True
            finish(sent.answer, "All of it")
        return execute(sql, params, many, context)

    ended = False
    url = sent.conversation.get_absolute_url()
    if shown == "changes":
        name = "conversations:conversation-changes"
        url = reverse(name, args=[sent.conversation.pk]) + "?version=0&leaf=0"
    with connection.execute_wrapper(end_before_messages):
        html = client_of(owner).get(url).content.decode()
    assert ended
    assert "All of it" in html
    assert "data-stream=" not in html
    assert "stop-form" not in html


def test_stop_works_from_a_page_without_script(client_of, owner, sent):
    url = reverse("conversations:message-stop", args=[sent.answer.pk])
    assert client_of(owner).post(url).status_code == 302
    assert Stream.objects.get().status == Status.STOPPED
    assert client_of(owner).get(url).status_code == 405


def test_stop_by_htmx_takes_the_stop_button_away(client_of, owner, sent):
    url = reverse("conversations:message-stop", args=[sent.answer.pk])
    form = {"version": sent.answer.version, "leaf": sent.answer.pk}
    html = client_of(owner).post(url, form, headers=HTMX).content.decode()
    assert 'id="state"' in html
    assert url not in html


def test_a_prompt_can_be_neither_stopped_retried_nor_continued(client_of, owner, sent):
    for name in ("message-stop", "message-retry", "message-continue"):
        url = reverse(f"conversations:{name}", args=[sent.prompt.pk])
        assert client_of(owner).post(url, {"key": uuid4()}).status_code == 404


def test_the_model_is_chosen_for_the_conversation(client_of, owner, sent):
    url = reverse("conversations:conversation-model", args=[sent.conversation.pk])
    assert client_of(owner).post(url, {"model": "echo:echo"}).status_code == 302
    assert Conversation.objects.get().model == "echo:echo"
    response = client_of(owner).post(url, {"model": "no:such"}, headers=HTMX)
    assert response.status_code == 422
    assert response["HX-Retarget"] == "#composer-error"
    response = client_of(owner).post(url, {"model": "<no>:such"})
    assert response.status_code == 422
    assert "The model &lt;no&gt;:such is not available." in response.content.decode()
    assert Conversation.objects.get().model == "echo:echo"


def test_a_chat_whose_model_is_gone_says_so_and_offers_the_default(client_of, owner, sent):
    Conversation.objects.update(model="gone:model")
    html = client_of(owner).get(sent.conversation.get_absolute_url()).content.decode()
    assert "The model gone:model is no longer available." in html
    assert "Use Echo" in html
    url = reverse("conversations:conversation-model", args=[sent.conversation.pk])
    html = client_of(owner).post(url, {"model": "echo:echo"}, headers=HTMX).content.decode()
    assert 'id="model-gone"' in html
    assert "no longer available" not in html


# --- What an open page fetches


def test_changes_bring_nothing_to_a_page_that_has_everything(client_of, owner, sent):
    url = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    shown = {"version": sent.answer.version, "leaf": sent.answer.pk}
    html = client_of(owner).get(url, shown, headers=HTMX).content.decode()
    assert "message-" not in html.replace("message-stop", "")


def test_changes_bring_a_message_that_was_edited_in_place(client_of, owner, sent):
    url = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    Message.objects.filter(pk=sent.prompt.pk).update(content="Better", version=7)
    shown = {"version": 6, "leaf": sent.answer.pk}
    html = client_of(owner).get(url, shown, headers=HTMX).content.decode()
    assert re.search(rf'id="message-{sent.prompt.pk}"[^>]* hx-swap-oob="true"', html)
    assert "Better" in html


@pytest.mark.parametrize("shown", [{}, {"version": "x", "leaf": 0}, {"version": -1, "leaf": 0}])
def test_changes_since_nonsense_are_400(client_of, owner, sent, shown):
    url = reverse("conversations:conversation-changes", args=[sent.conversation.pk])
    assert client_of(owner).get(url, shown).status_code == 400


def test_the_sidebar_marks_running_chats_and_the_current_one(client_of, owner, sent):
    url = sent.conversation.get_absolute_url()
    headers = HTMX | {"HX-Current-URL": f"http://testserver{url}"}
    html = client_of(owner).get("/sidebar/", headers=headers).content.decode()
    assert "running-mark" in html
    assert 'aria-current="page"' in html
    assert f'data-topic="user:{owner.pk}"' in html


def test_the_sidebar_pages_through_many_chats(client_of, owner, monkeypatch):
    monkeypatch.setattr("conversations.sidebar.PAGE_CONVERSATIONS", 2)
    for n in range(3):
        actions.start_conversation(owner, f"Chat number {n}", key=uuid4())
    client = client_of(owner)
    html = client.get("/sidebar/").content.decode()
    assert "Chat number 0" not in html
    assert "limit=4" in html
    assert "Chat number 0" in client.get("/sidebar/?limit=4").content.decode()


def test_nobody_has_no_sidebar(client, db):
    assert client.get("/sidebar/").status_code == 403

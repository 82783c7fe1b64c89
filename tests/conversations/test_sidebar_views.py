from __future__ import annotations

import json
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from conversations import actions, branches, keeping
from conversations.models import Conversation, Message
from streaming.actions import end_stream
from streaming.models import EndReason, Status, Stream

HTMX = {"HX-Request": "true"}
VERBS = ("rename", "pin", "archive", "delete", "restore", "read")

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(owner) -> Conversation:
    """A conversation of the owner whose answer runs."""
    return actions.start_conversation(owner, "Plans for Seoul", key=uuid4()).conversation


def url_of(verb: str, conversation: Conversation) -> str:
    return reverse(f"conversations:conversation-{verb}", args=[conversation.pk])


def listed(client: Client, query: str = "") -> str:
    return client.get(f"/sidebar/{query}", headers=HTMX).text


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def fetches_its_list(response) -> bool:
    changed = json.loads(response["HX-Trigger-After-Swap"])
    return changed == {"streaming:changed": {"target": "#sidebar-list"}}


def end(conversation: Conversation) -> None:
    (stream,) = Stream.objects.open().filter(message__conversation=conversation)
    assert end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)


# --- Rename


def test_the_menu_and_the_page_of_a_chat_offer_the_same(client_of, owner, chat):
    client = client_of(owner)
    menu = client.get(url_of("options", chat), headers=HTMX).text
    page = client.get(url_of("options", chat)).text
    for verb in ("rename", "pin", "archive", "delete"):
        assert url_of(verb, chat) in menu
        assert f'action="{url_of(verb, chat)}"' in page
    assert "<html" not in menu


def test_a_chat_is_renamed_in_its_row(client_of, owner, chat):
    client = client_of(owner)
    form = client.get(url_of("rename", chat), headers=HTMX).text
    assert 'value="Plans for Seoul"' in form
    before = chat.version
    response = client.post(url_of("rename", chat), {"title": " 서울 \t여행 "}, headers=HTMX)
    assert (response.status_code, response.content) == (200, b"")
    assert fetches_its_list(response)
    chat.refresh_from_db()
    assert chat.title == "서울 여행"
    # Pages that show it get its title with what changed.
    assert chat.version == before + 1
    state = {"version": before, "leaf": chat.leaf_id}
    changes = client.get(url_of("changes", chat), state, headers=HTMX).text
    assert re.search(r'<h1 id="title-[^>]+hx-swap-oob="true">서울 여행</h1>', changes)
    assert "서울 여행" in listed(client)


def test_without_a_script_a_chat_is_renamed_on_its_page(client_of, owner, chat):
    client = client_of(owner)
    response = client.post(url_of("rename", chat), {"title": "서울"})
    assert (response.status_code, response["Location"]) == (302, chat.get_absolute_url())
    assert "<title>서울 · chatsite</title>" in client.get(chat.get_absolute_url()).text


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("t" * 10_000, "The title is too long: 10,000 characters, at most 200 are allowed."),
        (" \t ", "Enter a title first."),
        ("nul \x00", "Null characters are not allowed."),
    ],
)
def test_a_bad_title_gets_a_sentence_and_keeps_what_was_typed(
    client_of, owner, chat, title, sentence, headers
):
    client = client_of(owner)
    response = client.post(url_of("rename", chat), {"title": title}, headers=headers)
    assert response.status_code == 422
    assert sentence in response.text
    if headers:
        # The field in the page is left alone.
        assert response.headers["HX-Retarget"] == f"#rename-error-{chat.pk}"
        assert "<" not in response.text
    else:
        assert f'value="{title}"' in response.text
        assert "<html" in response.text
    chat.refresh_from_db()
    assert chat.title == "Plans for Seoul"


def test_a_title_is_text_and_nothing_else(client_of, owner, chat):
    title = '"><script>alert(1)</script>'
    client = client_of(owner)
    client.post(url_of("rename", chat), {"title": title})
    for url in (chat.get_absolute_url(), url_of("options", chat), url_of("rename", chat)):
        assert "<script>alert" not in client.get(url).text


# --- Pin and archive


def test_pinned_chats_stand_on_top(client_of, owner, chat):
    actions.start_conversation(owner, "A newer one", key=uuid4())
    client = client_of(owner)
    assert headings(listed(client)) == ["Today"]
    response = client.post(url_of("pin", chat), {"on": "1"}, headers=HTMX)
    assert fetches_its_list(response)
    html = listed(client)
    assert headings(html) == ["Pinned", "Today"]
    assert html.index("Plans for Seoul") < html.index("A newer one")
    assert "Unpin" in client.get(url_of("options", chat), headers=HTMX).text
    assert client.post(url_of("pin", chat)).status_code == 302
    assert headings(listed(client)) == ["Today"]


def test_an_archived_chat_is_in_the_archive_alone(client_of, owner, chat):
    client = client_of(owner)
    keeping.pin(chat, True)
    assert "Archived" not in listed(client)
    assert fetches_its_list(client.post(url_of("archive", chat), {"on": "1"}, headers=HTMX))
    html = listed(client)
    assert "Plans for Seoul" not in html
    # Reached with a script and without.
    assert 'hx-get="/sidebar/?archived=1"' in html
    assert 'href="/?archived=1#sidebar"' in html
    assert headings(listed(client, "?archived=1")) == ["Today"]
    assert "Plans for Seoul" in client.get("/?archived=1").text
    assert client.get(chat.get_absolute_url()).status_code == 200
    client.post(url_of("archive", chat), headers=HTMX)
    # It comes back where its last message puts it, not to the top.
    assert headings(listed(client)) == ["Today"]
    assert "The archive is empty." in listed(client, "?archived=1")


def test_pin_brings_a_chat_back_from_the_archive(client_of, owner, chat):
    keeping.archive(chat, True)
    keeping.pin(chat, True)
    assert headings(listed(client_of(owner))) == ["Pinned"]


def test_the_archive_keeps_its_place_when_it_is_fetched_again(client_of, owner, monkeypatch):
    monkeypatch.setattr("conversations.sidebar.PAGE_CONVERSATIONS", 2)
    for number in range(3):
        sent = actions.start_conversation(owner, f"Chat {number}", key=uuid4())
        keeping.archive(sent.conversation, True)
    client = client_of(owner)
    html = listed(client, "?archived=1")
    assert 'hx-get="/sidebar/?limit=2&amp;archived=1"' in html
    assert "Chat 0" not in html
    assert 'hx-get="/sidebar/?limit=4&amp;archived=1"' in html
    assert "Chat 0" in listed(client, "?limit=4&archived=1")


def test_other_tabs_learn_of_all_of_it_by_the_list_s_version(client_of, owner, chat):
    client = client_of(owner)
    for verb, data in [
        ("rename", {"title": "x"}),
        ("pin", {"on": "1"}),
        ("archive", {"on": "1"}),
        ("delete", {}),
        ("restore", {}),
    ]:
        owner.refresh_from_db()
        before = owner.version
        client.post(url_of(verb, chat), data, headers=HTMX)
        owner.refresh_from_db()
        assert owner.version > before, verb


# --- Whose days


def zones_today(client: Client, chat: Conversation, *zones: str) -> list[bool]:
    """Whether the chat stands under today, by each zone."""
    found = []
    for zone in zones:
        client.cookies["timezone"] = zone
        found.append(headings(listed(client)) == ["Today"])
    return found


def test_days_are_those_of_the_browser(client_of, owner, chat):
    # Twelve hours ago was today in exactly one of two zones that are twelve hours apart.
    Conversation.objects.update(last_message_at=timezone.now() - timedelta(hours=12))
    client = client_of(owner)
    east, west = zones_today(client, chat, "Etc/GMT-12", "Etc/GMT")
    assert east is not west
    # The time as it is there, for the eye; and as it is everywhere, for machines.
    client.cookies["timezone"] = "Asia/Seoul"
    time = re.search(r'<time datetime="([^"]+)" title="([^"]+)"', listed(client))
    assert time
    assert time[1].endswith("+09:00")
    assert time[2][-5:] == time[1][11:16]


@pytest.mark.parametrize("zone", ["", "Nowhere/Else", "../../etc/passwd", "UTC"])
def test_a_zone_that_is_none_is_the_site_s(client_of, owner, chat, zone):
    client = client_of(owner)
    client.cookies["timezone"] = zone
    assert "+00:00" in listed(client)
    # Nothing of it is left for the next request of the thread.
    assert timezone.get_current_timezone_name() == "UTC"


# --- Delete and undo


def test_without_a_script_the_start_page_offers_to_undo_a_deletion(client_of, owner, chat):
    client = client_of(owner)
    response = client.post(url_of("delete", chat))
    assert (response.status_code, response["Location"]) == (302, f"/?deleted={chat.pk}")
    page = client.get(response["Location"]).text
    assert "“<bdi>Plans for Seoul</bdi>” was deleted." in page
    assert "Plans for Seoul" not in listed(client)
    response = client.post(url_of("restore", chat))
    assert (response.status_code, response["Location"]) == (302, chat.get_absolute_url())
    page = client.get(chat.get_absolute_url())
    assert page.status_code == 200
    assert "Stopped." in page.text
    assert "Plans for Seoul" in listed(client)
    assert "was deleted" not in client.get(f"/?deleted={chat.pk}").text


def test_a_chat_deleted_from_the_list_leaves_the_page_where_it_is(client_of, owner, chat):
    client = client_of(owner)
    headers = HTMX | {"HX-Current-URL": "http://testserver/"}
    response = client.post(url_of("delete", chat), headers=headers)
    assert fetches_its_list(response)
    assert "was deleted" in response.text
    assert "HX-Retarget" not in response
    response = client.post(url_of("restore", chat), headers=headers)
    assert fetches_its_list(response)
    assert response.text.strip() == ""
    assert client.get(chat.get_absolute_url()).status_code == 200


def test_the_page_of_a_deleted_chat_becomes_the_start_page_and_comes_back(client_of, owner, chat):
    client = client_of(owner)
    headers = HTMX | {"HX-Current-URL": f"http://testserver{chat.get_absolute_url()}?all"}
    response = client.post(url_of("delete", chat), headers=headers)
    assert (response["HX-Retarget"], response["HX-Push-Url"]) == ("#main", "/")
    assert 'hx-swap-oob="innerHTML:#toast"' in response.text
    assert "Ask anything" in response.text
    response = client.post(url_of("restore", chat), {"reopen": "1"}, headers=headers)
    assert (response["HX-Retarget"], response["HX-Push-Url"]) == ("#main", chat.get_absolute_url())
    assert "Plans for Seoul" in response.text


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_undo_that_comes_twice_finds_the_chat_there(client_of, owner, chat, headers):
    client = client_of(owner)
    keeping.delete_conversation(chat)
    first, second = (client.post(url_of("restore", chat), headers=headers) for _ in range(2))
    assert first.status_code == second.status_code < 400


def test_an_undo_that_comes_too_late_is_404(client_of, owner, chat):
    keeping.delete_conversation(chat, for_good=True)
    assert client_of(owner).post(url_of("restore", chat)).status_code == 404
    assert "was deleted" not in client_of(owner).get(f"/?deleted={chat.pk}").text


def test_a_strange_address_offers_no_undo(client, client_of, owner, stranger, chat):
    keeping.delete_conversation(chat)
    for who in (client, client_of(stranger)):
        for value in (chat.pk, "nonsense", uuid4()):
            response = who.get("/", {"deleted": value})
            assert response.status_code == 200
            assert "was deleted" not in response.text


# --- All of them

DELETE_ALL = "/c/delete/"


def test_all_chats_are_deleted_after_a_question_and_come_back_by_one_undo(client_of, owner, chat):
    client = client_of(owner)
    actions.start_conversation(owner, "And another", key=uuid4())
    assert "Delete 2 chats" in client.get(DELETE_ALL).text
    assert DELETE_ALL in client.get("/settings/").text
    response = client.post(DELETE_ALL)
    # Sent twice, it still offers the way back.
    again = client.post(DELETE_ALL)
    for answer in (response, again):
        page = client.get(answer["Location"]).text
        assert "2 chats were deleted." in page
        assert "Plans for Seoul" not in page
    assert "You have no chats." in client.get(DELETE_ALL).text
    deleted = answer["Location"].partition("=")[2]
    response = client.post(f"/c/{deleted}/restore/")
    assert response["Location"] == "/"
    page = client.get("/").text
    assert "Plans for Seoul" in page
    assert "And another" in page


def test_undo_of_all_by_a_script_fetches_the_list(client_of, owner, chat):
    actions.start_conversation(owner, "And another", key=uuid4())
    keeping.delete_all(owner)
    response = client_of(owner).post(url_of("restore", chat), headers=HTMX)
    assert fetches_its_list(response)
    assert Conversation.objects.owned_by(owner).count() == 2


def test_who_has_no_chats_deletes_none_and_visitors_are_asked_to_sign_in(client, client_of, owner):
    assert client_of(owner).post(DELETE_ALL)["Location"] == "/"
    assert client.get(DELETE_ALL)["Location"] == f"/accounts/sign-in/?next={DELETE_ALL}"
    assert client.post(DELETE_ALL).status_code == 302


def test_all_chats_are_those_of_one_person(client_of, stranger, chat):
    assert "You have no chats." in client_of(stranger).get(DELETE_ALL).text
    client_of(stranger).post(DELETE_ALL)
    chat.refresh_from_db()
    assert chat.deleted_at is None


# --- Unread


def test_a_chat_is_marked_while_an_answer_runs_in_a_branch_that_is_not_shown(
    client_of, owner, stranger, chat
):
    client = client_of(owner)
    end(chat)
    first = Message.objects.get(pk=chat.leaf_id)
    actions.start_conversation(stranger, "Not mine", key=uuid4())
    assert "running-mark" not in listed(client)
    actions.retry(first, key=uuid4())
    branches.show_branch(first)
    chat.refresh_from_db()
    assert chat.leaf == first
    assert listed(client).count("running-mark") == 1


def test_an_answer_that_ends_leaves_a_mark_until_a_page_says_that_it_shows_it(
    client_of, owner, chat
):
    client = client_of(owner)
    page = client.get(chat.get_absolute_url()).text
    assert "running-mark" in listed(client)
    assert "data-unread" not in page
    end(chat)
    html = listed(client)
    assert "running-mark" not in html
    assert 'class="unread-mark" role="img" aria-label="Unread"' in html
    # Reading is no form: a page that is loaded in the background changes nothing.
    assert "data-unread" in client.get(chat.get_absolute_url()).text
    assert "unread-mark" in listed(client)
    owner.refresh_from_db()
    response = client.post(url_of("read", chat), headers=HTMX)
    assert response.status_code == 204
    brought = {"streaming:brought": {f"user:{owner.pk}": owner.version + 1}}
    assert json.loads(response["HX-Trigger"]) == brought
    assert "unread-mark" not in listed(client)
    # Once: what is read already changes no list.
    response = client.post(url_of("read", chat), headers=HTMX)
    assert (response.status_code, "HX-Trigger" in response) == (204, False)


def test_a_page_reads_what_ended_in_another_branch_when_it_switches_to_it(client_of, owner, chat):
    end(chat)
    first = Message.objects.get(pk=chat.leaf_id)
    keeping.mark_read(chat)
    second = actions.retry(first, key=uuid4())
    branches.show_branch(first)
    end(chat)
    chat.refresh_from_db()
    shown = {"version": chat.version, "leaf": first.pk}
    show = reverse("conversations:message-show", args=[second.pk])
    assert "data-unread" in client_of(owner).post(show, shown, headers=HTMX).text


def test_an_answer_that_goes_on_is_unread_again(client_of, owner, chat):
    end(chat)
    keeping.mark_read(chat)
    actions.retry(Message.objects.get(pk=chat.leaf_id), key=uuid4())
    assert "unread-mark" not in listed(client_of(owner))
    end(chat)
    assert "unread-mark" in listed(client_of(owner))


# --- Whose it is


@pytest.mark.parametrize("verb", VERBS)
def test_another_person_s_chat_is_404(client, client_of, stranger, chat, verb):
    before = Conversation.objects.values().get()
    for who in (client, client_of(stranger)):
        for headers in ({}, HTMX):
            data = {"title": "Mine", "on": "1"}
            assert who.post(url_of(verb, chat), data, headers=headers).status_code == 404
    for name in ("options", "rename"):
        assert client_of(stranger).get(url_of(name, chat)).status_code == 404
    assert Conversation.objects.values().get() == before


@pytest.mark.parametrize("verb", ["pin", "archive", "delete", "restore", "read"])
def test_only_a_form_changes_a_chat(client_of, owner, chat, verb):
    assert client_of(owner).get(url_of(verb, chat)).status_code == 405


def test_the_list_costs_the_same_queries_however_long(client_of, owner, chat):
    client = client_of(owner)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            listed(client)
        return len(queries)

    before = count()
    for number in range(6):
        sent = actions.start_conversation(owner, f"Chat {number}", key=uuid4())
        if number % 2:
            keeping.pin(sent.conversation, True)
    assert count() == before <= 5


def test_a_visitor_has_no_list(client):
    assert client.get("/sidebar/").status_code == 403

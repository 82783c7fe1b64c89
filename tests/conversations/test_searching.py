"""Search; `tests/streaming/test_postgresql.py` runs this file on PostgreSQL once more."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from conversations import actions, keeping, search_index, searching
from conversations.models import Conversation, Message, Role
from conversations.searching import search
from streaming import actions as streams
from streaming.models import EndReason, Status
from tests.streaming.rows import write

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
only_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'")


@pytest.fixture
def chat(owner) -> Conversation:
    return actions.start_conversation(owner, "A title of its own", key=uuid4()).conversation


def add(chat: Conversation, text: str) -> Message:
    return Message.objects.create(conversation=chat, role=Role.USER, content=text)


def texts(user, query: str) -> list[str]:
    """The excerpts of the found messages, newest first."""
    found = [one for one in search(user, query).found if one.excerpt]
    return ["".join(part.text for part in one.excerpt) for one in found]


def hits(user, query: str) -> list[str]:
    return [part.text for one in search(user, query).found for part in one.excerpt if part.is_hit]


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("서울", True),
        ("서울에서", True),
        ("울에", True),
        ("서", True),
        ("여행을", True),
        ("서울 여행", True),
        ("여행 서울에서", True),
        ("부산", False),
        ("서울 부산", False),
        ("서울에서는", False),
    ],
)
def test_a_korean_word_is_found_with_its_particle_and_without(owner, chat, query, is_found):
    add(chat, "다음 주에 서울에서 여행을 합니다.")
    assert bool(texts(owner, query)) is is_found


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("stream", True),
        ("STREAM", True),
        ("reams", True),
        ("st", True),
        ("streams last", True),
        ("last st", True),
        ("st re", True),
        ("lasting", False),
        ("st xy", False),
        ("100%", True),
        ("%", True),
        ("1%", False),
        ("_", False),
        ("___", False),
        ('"quo', True),
        ('"quoted" OR', False),
        ("AND", False),
        ("content:streams", False),
        ("streams*", False),
        ("*", False),
        ("'; DROP", False),
        ("back\\slash", True),
        ("\\", True),
    ],
)
def test_what_is_looked_for_are_characters_in_any_case(owner, chat, query, is_found):
    add(chat, 'Streams that last: 100% "quoted" back\\slash')
    assert bool(texts(owner, query)) is is_found


def test_the_newest_comes_first_with_its_hit_in_sight(owner, chat):
    long = "word " * 200 + "the needle here " + "word " * 200
    older, newer = add(chat, long), add(chat, "A Needle.\n\nAnd more")
    found = search(owner, "needle").found
    assert [one.url.partition("#")[2] for one in found] == [
        f"message-{newer.pk}",
        f"message-{older.pk}",
    ]
    assert hits(owner, "needle") == ["Needle", "needle"]
    assert texts(owner, "needle")[0] == "A Needle. And more"
    excerpt = texts(owner, "needle")[1]
    assert excerpt.startswith("…word word")
    assert excerpt.endswith("…")
    assert "the needle here" in excerpt
    assert len(excerpt) < 200


def test_an_excerpt_has_no_markup_unless_it_was_looked_for(owner, chat):
    add(chat, "# The **needle**\n\n- one `code`\n- C# and 2 * 3")
    assert texts(owner, "needle") == ["The needle one code C# and 2 3"]
    assert texts(owner, "**needle") == ["# The **needle** - one `code` - C# and 2 * 3"]


def test_titles_are_found_too(owner, chat):
    keeping.rename(chat, "서울 여행 계획")
    (found,) = search(owner, "여행").found
    assert [(part.text, part.is_hit) for part in found.title] == [
        ("서울 ", False),
        ("여행", True),
        (" 계획", False),
    ]
    assert found.url == chat.get_absolute_url()
    assert search(owner, "여행 부산").found == []


def test_an_answer_is_found_while_it_runs_and_afterwards(owner, chat):
    answer = Message.objects.select_related("stream").get(pk=chat.leaf_id)
    # A word that two chunks share.
    write(answer.stream, "Everything about elep", "hants, so far")
    assert hits(owner, "elephants") == ["elephants"]
    assert hits(owner, "el ph") == ["el", "ph"]
    assert texts(owner, "elephants tigers") == []
    streams.end_stream(answer.stream.pk, Status.DONE, EndReason.COMPLETE)
    assert hits(owner, "elephants") == ["elephants"]
    # Another answer takes its place in the page; it stays there to be found.
    newer = actions.retry(answer, key=uuid4())
    write(newer.stream, "Only about elephants")
    assert len(texts(owner, "elephants")) == 2
    streams.stop(newer.stream)
    continued = actions.continue_answer(newer, key=uuid4())
    assert len(texts(owner, "elephants")) == 2
    write(continued.stream, " and tigers")
    assert texts(owner, "elephants tigers") == ["Only about elephants and tigers"]


def test_nobody_finds_what_is_another_person_s_or_deleted(owner, stranger, chat):
    add(chat, "A secret word, 비밀")
    answer = Message.objects.select_related("stream").get(pk=chat.leaf_id)
    write(answer.stream, "secret answer 비밀")
    for query in ("secret", "비밀", "title"):
        assert search(owner, query).found
        assert search(stranger, query).found == []
    keeping.delete_conversation(chat)
    for query in ("secret", "비밀", "title"):
        assert search(owner, query).found == []


def test_what_is_archived_is_found(owner, chat):
    add(chat, "put away")
    keeping.archive(chat, True)
    assert texts(owner, "away")


def test_changed_and_deleted_text_is_no_longer_found(owner, chat):
    message = add(chat, "the first text")
    Message.objects.filter(pk=message.pk).update(content="the second text")
    assert texts(owner, "first") == []
    assert texts(owner, "second") == ["the second text"]
    message.delete()
    assert texts(owner, "second") == []


def test_bulk_and_raw_statements_are_indexed_as_well(owner, chat):
    Message.objects.bulk_create(
        Message(conversation=chat, role=Role.USER, content=f"number {n} 서울에서") for n in range(3)
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE conversations_message SET content = content || ' rawhide'")
    assert len(texts(owner, "서울에 rawhide")) == 3


def test_a_long_list_is_cut_and_says_so(owner, chat):
    for number in range(searching.MAX_MESSAGES + 2):
        add(chat, f"needle {number}")
    results = search(owner, "needle")
    assert len(results.found) == searching.MAX_MESSAGES
    assert results.is_cut
    assert "".join(part.text for part in results.found[0].excerpt) == f"needle {number}"


@pytest.mark.parametrize("query", ["needle", "ne", "ne needle"])
def test_a_search_costs_four_queries_at_most(owner, chat, query):
    for _ in range(3):
        add(actions.start_conversation(owner, "needle", key=uuid4()).conversation, "needle")
    with CaptureQueriesContext(connection) as queries:
        assert search(owner, query).found
    assert len(queries) <= 4


# --- The index


@only_sqlite
def test_an_index_whose_triggers_went_with_their_table_is_made_again(owner, chat):
    """What Django does when a migration alters the table of messages."""
    with connection.cursor() as cursor:
        for name in search_index.TRIGGERS:
            cursor.execute(f"DROP TRIGGER {name}")
    add(chat, "unseen words")
    assert texts(owner, "unseen") == []
    search_index.ensure(using="default")
    assert texts(owner, "unseen") == ["unseen words"]
    add(chat, "unseen before")
    assert len(texts(owner, "unseen")) == 2


@only_sqlite
def test_an_index_that_stands_is_left_alone(owner, chat):
    with CaptureQueriesContext(connection) as queries:
        search_index.ensure(using="default")
    assert [q["sql"] for q in queries if "conversations_search" in q["sql"]] == []


@pytest.mark.parametrize("query", ["서울에서", "needle"])
def test_the_index_is_used(owner, chat, query):
    """With many messages, of which few have the word."""
    Message.objects.bulk_create(
        Message(conversation=chat, role=Role.USER, content=f"hay {n} " * 40) for n in range(2_000)
    )
    add(chat, f"x{query}x")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # What its housekeeping does some time after a bulk insert.
            cursor.execute("SELECT gin_clean_pending_list('conversations_message_search')")
            cursor.execute("ANALYZE conversations_message")
    explained = Message.objects.filter(searching._has_all([query])).explain()
    is_sqlite = connection.vendor == "sqlite"
    assert ("VIRTUAL TABLE" if is_sqlite else "conversations_message_search") in explained


# --- The page


def test_the_field_finds_in_place_and_on_a_page(client_of, owner, chat):
    message = add(chat, "<b>서울에서</b> & more")
    client = client_of(owner)
    fragment = client.get("/search/", {"q": "서울"}, headers=HTMX).text
    page = client.get("/search/", {"q": "서울"}).text
    for html in (fragment, page):
        assert f'href="{chat.get_absolute_url()}?at={message.pk}#message-{message.pk}"' in html
        assert "&lt;b&gt;<mark>서울</mark>에서&lt;/b&gt; &amp; more" in html
        assert "1 result<" in html
    assert fragment.lstrip().startswith('<div id="sidebar-list"')
    assert page.count('id="sidebar-list"') == 1
    assert 'value="서울"' in page


def test_an_empty_field_brings_the_list_back(client_of, owner, chat):
    html = client_of(owner).get("/search/", {"q": ""}, headers=HTMX).text
    assert "data-topic" in html
    assert "A title of its own" in html
    assert client_of(owner).get("/search/").status_code == 200


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("   ", "Enter something to search for."),
        ("x" * 5_000, "The search is too long: 5,000 characters, at most 200 are allowed."),
        ("nul\x00", "Null characters are not allowed."),
    ],
)
def test_a_bad_search_gets_a_sentence(client_of, owner, chat, query, sentence, headers):
    response = client_of(owner).get("/search/", {"q": query}, headers=headers)
    assert response.status_code == 422
    assert sentence in response.text


def test_nothing_found_is_said(client_of, owner, chat):
    response = client_of(owner).get("/search/", {"q": "<nowhere>"}, headers=HTMX)
    assert "No results for “<bdi>&lt;nowhere&gt;</bdi>”." in response.text


def test_a_visitor_has_nothing_to_search(client):
    assert client.get("/search/", {"q": "x"}, headers=HTMX).status_code == 403
    assert client.get("/search/", {"q": "x"}).status_code == 302


def test_the_page_of_a_find_begins_early_enough_to_show_it(client_of, owner, chat, monkeypatch):
    monkeypatch.setattr("conversations.pages.PAGE_MESSAGES", 2)
    parent, pks = chat.leaf, []
    for number in range(6):
        parent = Message.objects.create(
            conversation=chat, parent=parent, role=Role.USER, content=str(number)
        )
        pks.append(parent.pk)
    Conversation.objects.filter(pk=chat.pk).update(leaf=parent)
    client = client_of(owner)
    url = chat.get_absolute_url()
    assert f'id="message-{pks[1]}"' not in client.get(url).text
    html = client.get(url, {"at": pks[1]}).text
    shown = [pk for pk in pks if f'id="message-{pk}"' in html]
    assert shown == pks[1:3]
    for at in ("", "x", "-1", "9" * 30, "²", str(pks[-1] + 1_000)):
        assert client.get(url, {"at": at}).status_code == 200


def test_the_page_of_a_find_shows_the_version_that_has_it_and_switches_by_a_form(
    client_of, owner, chat
):
    first = Message.objects.select_related("stream").get(pk=chat.leaf_id)
    write(first.stream, "The first version")
    streams.stop(first.stream)
    second = actions.retry(first, key=uuid4())
    client = client_of(owner)
    url = chat.get_absolute_url()
    assert f'id="message-{first.pk}"' not in client.get(url).text
    page = client.get(url, {"at": first.pk}).text
    assert f'id="message-{first.pk}"' in page
    assert f'id="message-{second.pk}"' not in page
    assert f'name="leaf" value="{first.pk}"' in page
    # A GET changes nothing.
    chat.refresh_from_db()
    assert chat.leaf_id == second.pk
    assert "switch-form" in page
    show = reverse("conversations:message-show", args=[first.pk])
    assert f'hx-post="{show}" hx-trigger="load, submit"' in page
    shown = {"version": chat.version, "leaf": first.pk}
    answer = client.post(show, shown, headers=HTMX).text
    # The page that sent it shows it already.
    assert "<article" not in answer
    assert "delete:#message" not in answer
    chat.refresh_from_db()
    assert chat.leaf_id == first.pk
    assert "switch-form" not in client.get(url, {"at": first.pk}).text

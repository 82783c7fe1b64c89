from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from streaming.admin import CHUNKS_SHOWN, pace_bars
from streaming.models import Chunk, EndReason, Status, Stream
from tests.streaming.logs import stream_with

pytestmark = pytest.mark.django_db

LIST = "/admin/streaming/stream/"


def page_of(stream: Stream) -> str:
    return reverse("admin:streaming_stream_change", args=[stream.pk])


@pytest.fixture
def office(auditor: Any, client_of: Callable[[Any], Client]) -> Client:
    """The admin, as somebody sees it who may do everything there."""
    return client_of(auditor)


def test_the_list_shows_state_reason_length_and_pace(office: Client, owner: Any) -> None:
    stream = stream_with("Hello ", "world", owner=owner, status=Status.ERROR, reason=EndReason.CUT)
    html = office.get(LIST).text
    assert str(stream.pk)[:8] in html
    assert "owner@example.com" in html
    assert "The connection to the provider was lost." in html
    assert "0.10 s" in html


def test_the_list_takes_the_same_queries_for_one_and_for_twenty_streams(
    office: Client, owner: Any, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    stream_with("one", owner=owner)
    with django_assert_max_num_queries(10) as few:
        office.get(LIST)
    for _ in range(19):
        stream_with("more", owner=owner)
    with django_assert_num_queries(len(few)):
        office.get(LIST)


@pytest.mark.parametrize(
    "query",
    ["?status__exact=done", "?generator=tests.log", "?created_at__gte=2020-01-01T00:00%2B00:00"],
)
def test_the_list_can_be_filtered(office: Client, query: str) -> None:
    stream = stream_with("text", status=Status.DONE)
    assert str(stream.pk) in office.get(LIST + query).text


def test_a_filter_hides_what_does_not_match(office: Client) -> None:
    stream = stream_with("text", status=Status.DONE)
    assert str(stream.pk) not in office.get(LIST + "?status__exact=error").text


@pytest.mark.parametrize("wanted", ["the id", "the owner"])
def test_search_finds_a_stream_by_its_id_or_its_owner_and_never_by_its_text(
    office: Client, owner: Any, wanted: str
) -> None:
    stream = stream_with("needle", owner=owner)
    words = {"the id": str(stream.pk), "the owner": "owner@example"}
    assert page_of(stream) in office.get(LIST, {"q": words[wanted]}).text
    assert page_of(stream) not in office.get(LIST, {"q": "needle"}).text


def test_the_page_shows_timings_chunks_and_the_rendered_text(office: Client) -> None:
    stream = stream_with("Hello ", "<b>world</b>", status=Status.DONE, reason=EndReason.COMPLETE)
    html = office.get(page_of(stream)).text
    assert hashlib.sha256(b"Hello <b>world</b>").hexdigest() in html
    assert "0.10 s" in html
    assert "2 chunks, 18 characters" in html
    assert "200 ms" in html
    assert "&lt;b&gt;world" in html
    assert "<b>world" not in html
    assert html.count("<rect") == 2


def test_a_long_log_is_shown_by_its_first_and_last_chunks(office: Client) -> None:
    stream = stream_with(*(f"{number:04d}" for number in range(2 * CHUNKS_SHOWN + 5)))
    html = office.get(page_of(stream)).text
    assert "5 chunks in between" in html
    assert "<code>0199</code>" in html
    assert "<code>0200</code>" not in html
    assert "<code>0205</code>" in html


def test_a_stream_whose_generator_is_gone_is_shown_as_plain_text(office: Client) -> None:
    stream = stream_with("# not a heading", status=Status.DONE)
    Stream.objects.filter(pk=stream.pk).update(generator="removed.app")
    assert "# not a heading" in office.get(page_of(stream)).text


def test_nothing_on_the_pages_needs_inline_style_or_script(office: Client) -> None:
    stream = stream_with("Hello")
    for url in (LIST, page_of(stream)):
        html = office.get(url).text
        assert "style=" not in html
        assert "<script>" not in html
        assert "onclick" not in html


def test_stop_ends_open_streams_and_leaves_ended_ones_alone(office: Client) -> None:
    running, ended = stream_with("kept"), stream_with("end", status=Status.DONE)
    chosen = {"action": "stop_streams", "_selected_action": [running.pk, ended.pk]}
    html = office.post(LIST, chosen, follow=True).text
    assert "1 stream was stopped." in html
    assert "1 had already ended." in html
    running.refresh_from_db()
    ended.refresh_from_db()
    assert (running.status, running.end_reason) == (Status.STOPPED, EndReason.OPERATOR)
    assert running.length == 4
    assert ended.status == Status.DONE


def test_who_may_only_look_may_not_stop(owner: Any, client_of: Callable[[Any], Client]) -> None:
    owner.is_staff = True
    owner.save()
    owner.user_permissions.add(Permission.objects.get(codename="view_stream"))
    stream = stream_with("text")
    client = client_of(owner)
    assert client.get(page_of(stream)).status_code == 200
    assert "stop_streams" not in client.get(LIST).text
    client.post(LIST, {"action": "stop_streams", "_selected_action": [stream.pk]})
    stream.refresh_from_db()
    assert stream.is_open


def test_adding_changing_and_deleting_are_refused_also_when_posted(office: Client) -> None:
    stream = stream_with("text")
    assert office.get(LIST + "add/").status_code == 403
    assert office.post(LIST + "add/", {"generator": "x"}).status_code == 403
    assert office.post(page_of(stream), {"status": "done"}).status_code == 403
    delete = reverse("admin:streaming_stream_delete", args=[stream.pk])
    assert office.post(delete, {"post": "yes"}).status_code == 403
    office.post(LIST, {"action": "delete_selected", "_selected_action": [stream.pk], "post": "yes"})
    stream.refresh_from_db()
    assert stream.status == Status.STREAMING
    assert Chunk.objects.filter(stream=stream).count() == 1


@pytest.mark.parametrize("who", ["stranger", "guest"])
def test_nobody_outside_the_staff_sees_a_stream_here(
    request: pytest.FixtureRequest, client_of: Callable[[Any], Client], who: str
) -> None:
    stream = stream_with("secret")
    client = client_of(request.getfixturevalue(who))
    for url in (LIST, page_of(stream)):
        response = client.get(url)
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_pace_bars_put_characters_where_their_time_is() -> None:
    bars = pace_bars([(0.0, 10), (1.0, 20)], width=100, height=40, bars=10)
    assert [(bar.x, bar.height) for bar in bars] == [(0.0, 20.0), (90.0, 40.0)]
    assert pace_bars([]) == []

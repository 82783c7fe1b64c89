"""POST /streams/<id>/stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from streaming import access, actions, generators
from streaming.models import EndReason, Status, Stream

from .rows import write, write_nothing

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Any], Client]


@pytest.fixture
def stream(owner: Any) -> Iterator[Stream]:
    generators.generator(
        "tests.stop", may_read=generators.owner_only, may_stop=generators.owner_only
    )(write_nothing)
    stream = actions.create("tests.stop", owner=owner)
    write(stream, "seen")
    yield stream
    generators._registry.pop("tests.stop", None)


def url(stream: Stream) -> str:
    return reverse("streaming:stop", args=[stream.pk])


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        ({"data": {"next": "/c/5"}}, "/c/5"),
        ({"headers": {"Referer": "http://testserver/c/6"}}, "http://testserver/c/6"),
        ({"data": {"next": "https://evil.example/"}}, "/"),
        ({"data": {"next": "//evil.example/"}}, "/"),
        ({"headers": {"Referer": "https://evil.example/"}}, "/"),
        ({}, "/"),
    ],
)
def test_a_plain_form_stops_and_goes_back_within_the_site(
    stream: Stream, owner: Any, client_of: ClientOf, sent: dict[str, Any], back: str
) -> None:
    response = client_of(owner).post(url(stream), **sent)
    assert (response.status_code, response.headers["Location"]) == (302, back)
    stream.refresh_from_db()
    assert (stream.status, stream.end_reason) == (Status.STOPPED, EndReason.USER)
    assert stream.length == 4


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": {"HX-Request": "true"}},
        {"headers": {"Accept": "application/json"}},
        {"content_type": "application/json", "data": "{}"},
    ],
)
def test_a_script_gets_an_empty_answer(
    stream: Stream, owner: Any, client_of: ClientOf, sent: dict[str, Any]
) -> None:
    response = client_of(owner).post(url(stream), **sent)
    assert (response.status_code, response.content) == (204, b"")
    stream.refresh_from_db()
    assert stream.status == Status.STOPPED


def test_a_boosted_form_goes_back(stream: Stream, owner: Any, client_of: ClientOf) -> None:
    headers = {"HX-Request": "true", "HX-Boosted": "true"}
    assert client_of(owner).post(url(stream), headers=headers).status_code == 302


def test_what_has_ended_stays_as_it_ended(stream: Stream, owner: Any, client_of: ClientOf) -> None:
    actions.end_stream(stream.pk, Status.DONE, EndReason.COMPLETE)
    assert client_of(owner).post(url(stream)).status_code == 302
    stream.refresh_from_db()
    assert stream.status == Status.DONE


def test_nobody_else_stops_it(stream: Stream, stranger: Any, client_of: ClientOf) -> None:
    for client in (client_of(stranger), Client()):
        assert client.post(url(stream)).status_code == 404
        assert client.post(f"/streams/{uuid4()}/stop").status_code == 404
        assert client.post("/streams/nonsense/stop").status_code == 404
    stream.refresh_from_db()
    assert stream.is_open


def test_who_may_only_read_does_not_stop_it(
    stream: Stream, owner: Any, client_of: ClientOf
) -> None:
    generators.generator("tests.stop", may_read=generators.owner_only)(write_nothing)
    assert client_of(owner).post(url(stream)).status_code == 404


def test_a_token_does_not_stop_it(stream: Stream, owner: Any) -> None:
    headers = {"Authorization": f"Bearer {access.access_token(stream, owner)}"}
    assert Client().post(url(stream), headers=headers).status_code == 404


def test_it_needs_a_post_with_the_csrf_token(
    stream: Stream, owner: Any, client_of: ClientOf
) -> None:
    assert client_of(owner).get(url(stream)).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner)
    assert strict.post(url(stream)).status_code == 403
    stream.refresh_from_db()
    assert stream.is_open

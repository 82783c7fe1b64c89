"""What holds for every URL of the site, also for those that are added later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.test import Client
from django.test.client import MULTIPART_CONTENT as FORM
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from conversations.actions import start_conversation
from conversations.submissions import Sent

# Committed: the views of streams read in threads of their own.
pytestmark = pytest.mark.django_db(transaction=True)

APPS = ("accounts", "conversations", "streaming")


def found_in(resolver: URLResolver, namespace: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, converters by argument) of all URLs but the admin's, which Django tests."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            if pattern.name:
                yield f"{namespace}{pattern.name}", pattern.pattern.converters
        elif pattern.namespace != "admin":
            yield from found_in(pattern, f"{pattern.namespace}:")


CONVERTERS = dict(found_in(get_resolver()))
every_url = pytest.mark.parametrize("name", sorted(CONVERTERS))


@pytest.fixture
def sent(owner) -> Sent:
    """A conversation of the owner whose answer is about to start."""
    return start_conversation(owner, "Hello", key=uuid4(), model="echo:echo")


@pytest.fixture
def url_of(sent: Sent) -> Callable[[str], str]:
    """`url_of(name)`: the URL of that name, of what the owner has."""

    values = {
        "UUIDConverter": sent.conversation.pk,
        "IntConverter": sent.answer.pk,
        "StringConverter": sent.answer.stream_id,
    }

    def url(name: str) -> str:
        of_type = {key: values[type(one).__name__] for key, one in CONVERTERS[name].items()}
        return reverse(name, kwargs=of_type)

    return url


def rows() -> list[list[dict[str, Any]]]:
    """All that our apps have in the database."""
    models = [model for app in APPS for model in apps.get_app_config(app).get_models()]
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def test_the_urls_are_found() -> None:
    assert {"accounts:sign-out", "conversations:message-stop", "streaming:stop"} <= set(CONVERTERS)


@every_url
def test_a_get_changes_nothing(name: str, url_of, client_of, owner) -> None:
    url = url_of(name)
    client = client_of(owner)
    before = rows()
    for headers in ({}, {"HX-Request": "true"}):
        client.get(url, headers=headers)
        client.get(url, {"next": "/", "answer": "yes", "confirmed": "yes"}, headers=headers)
    assert rows() == before
    assert client.get("/").context["user"] == owner


@every_url
def test_a_post_without_the_csrf_token_is_refused(name: str, url_of, owner) -> None:
    url = url_of(name)
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    before = rows()
    body = {"streamId": str(uuid4()), "key": str(uuid4()), "content": "x", "confirmed": "yes"}
    # The one view that wants JSON refuses a form before it asks who sends it.
    types = ["application/json"] if name == "streaming:chat-stream" else ["application/json", FORM]
    for content_type in types:
        assert client.post(url, body, content_type).status_code in (403, 405)
    assert rows() == before


@every_url
@pytest.mark.parametrize("method", ["get", "post", "put"])
@pytest.mark.parametrize("who", ["visitor", "owner"])
def test_every_answer_has_the_headers(
    name: str, method: str, who: str, url_of, owner, client, client_of
) -> None:
    url = url_of(name)
    person = client if who == "visitor" else client_of(owner)
    response = getattr(person, method)(url)
    headers = response.headers
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Cookie" in headers["Vary"]
    # What a stream's reader gets may be kept by the browser, which must ask each time.
    kept = "no-cache" if name == "streaming:stream" and response.status_code == 200 else "no-store"
    assert kept in headers["Cache-Control"]

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client


def failing(error: Exception) -> Callable[..., Any]:
    """A wrapper for a connection: every statement raises `error`."""

    def execute(*args: Any) -> Any:
        raise error

    return execute


@pytest.fixture
def visitor(client_of: Callable[..., Client], owner: Any) -> Client:
    """Somebody whose pages need the database; what fails is answered, not raised."""
    client = client_of(owner)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_503_and_says_when_to_come_back(visitor, error):
    with connection.execute_wrapper(failing(error("the connection is closed: secret@host"))):
        response = visitor.get("/")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "The server is busy." in response.text
    assert "secret" not in response.text


def test_no_part_of_a_page_is_replaced_while_the_database_is_away(visitor):
    with connection.execute_wrapper(failing(OperationalError())):
        response = visitor.get("/", headers={"HX-Request": "true"})
    assert (response.status_code, response.content) == (503, b"")
    assert response.headers["HX-Reswap"] == "none"


def test_any_other_failure_is_500_in_our_words(visitor):
    with connection.execute_wrapper(failing(RuntimeError("secret"))):
        response = visitor.get("/")
    assert response.status_code == 500
    assert "Something went wrong." in response.text
    assert "secret" not in response.text
    assert "Content-Security-Policy" in response.headers


def test_a_browser_that_asks_for_the_old_icon_gets_the_icon(client):
    response = client.get("/favicon.ico")
    assert response.status_code == 302
    assert response.url == "/static/icons/favicon.svg"

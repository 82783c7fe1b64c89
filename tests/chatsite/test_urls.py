from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from conversations import views


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_503_and_says_when_to_come_back(db, monkeypatch, error):
    def away(*args):
        raise error("the connection is closed: secret@host")

    monkeypatch.setattr(views, "_start_page", away)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "The server is busy." in response.text
    assert "secret" not in response.text


def test_no_part_of_a_page_is_replaced_while_the_database_is_away(db, monkeypatch):
    def away(*args):
        raise OperationalError

    monkeypatch.setattr(views, "_start_page", away)
    client = Client(raise_request_exception=False)
    response = client.get("/", headers={"HX-Request": "true"})
    assert (response.status_code, response.content) == (503, b"")
    assert response.headers["HX-Reswap"] == "none"


def test_any_other_failure_is_500_in_our_words(db, monkeypatch):
    def broken(*args):
        raise RuntimeError("secret")

    monkeypatch.setattr(views, "_start_page", broken)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    assert "Something went wrong here." in response.text
    assert "secret" not in response.text
    assert "Content-Security-Policy" in response.headers


def test_a_browser_that_asks_for_the_old_icon_gets_the_icon(client):
    response = client.get("/favicon.ico")
    assert response.status_code == 302
    assert response.url == "/static/icons/favicon.svg"

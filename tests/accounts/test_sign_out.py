from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from chatsite.accounts.guests import COOKIE
from chatsite.accounts.models import User
from conversations.models import Conversation

SIGN_IN = reverse("accounts:sign-in")
SIGN_IN_GUEST = reverse("accounts:sign-in-guest")
SIGN_OUT = reverse("accounts:sign-out")

pytestmark = pytest.mark.django_db


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_an_account_signs_out_by_one_post(client_of, owner: User) -> None:
    client = client_of(owner)
    session = client.session.session_key
    response = client.post(SIGN_OUT)

    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL
    assert not is_signed_in(client)
    assert not client.session.exists(session)


def test_the_page_alone_signs_nobody_out(client_of, owner: User) -> None:
    client = client_of(owner)

    assert client.get(SIGN_OUT).status_code == 200
    assert is_signed_in(client)


def test_a_guest_reads_what_is_lost_and_how_to_keep_it(
    guest_client: Client, guests_chats: list[Conversation]
) -> None:
    page = guest_client.get(SIGN_OUT).text

    assert "your 2 chats are lost" in page
    assert reverse("accounts:sign-up") in page


def test_a_guest_with_chats_must_confirm(
    guest_client: Client, guests_chats: list[Conversation]
) -> None:
    assert "your 2 chats are lost" in guest_client.post(SIGN_OUT).text
    assert is_signed_in(guest_client)

    guest_client.post(SIGN_OUT, {"confirmed": "yes"})
    assert not is_signed_in(guest_client)


def test_a_guest_without_chats_signs_out_at_once(guest_client: Client) -> None:
    assert "You are a guest" not in guest_client.get(SIGN_OUT).text
    guest_client.post(SIGN_OUT)

    assert not is_signed_in(guest_client)


def test_the_browsers_next_guest_is_somebody_else(client: Client) -> None:
    old = client.get(SIGN_IN).cookies[COOKIE].value
    client.post(SIGN_IN_GUEST)
    first = User.objects.get()
    client.post(SIGN_OUT)
    client.post(SIGN_IN_GUEST)

    assert client.cookies[COOKIE].value != old
    assert client.session["_auth_user_id"] != str(first.pk)


def test_a_copy_of_the_cookie_does_not_open_the_old_guest(client: Client) -> None:
    copy = client.get(SIGN_IN).cookies[COOKIE].value
    client.post(SIGN_IN_GUEST)
    first = User.objects.get()
    client.post(SIGN_OUT)
    client.cookies[COOKIE] = copy
    client.post(SIGN_IN_GUEST)

    assert client.session["_auth_user_id"] != str(first.pk)


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_visitor_is_sent_to_the_start(client: Client, method: str) -> None:
    response = getattr(client, method)(SIGN_OUT)

    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL


def test_the_csrf_token_is_needed(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(SIGN_OUT).status_code == 403
    assert is_signed_in(client)


def test_other_methods_are_refused(client_of, owner: User) -> None:
    assert client_of(owner).delete(SIGN_OUT).status_code == 405

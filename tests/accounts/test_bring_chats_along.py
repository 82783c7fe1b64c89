from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from chatsite.accounts.actions import bring_chats_along
from chatsite.accounts.guests import COOKIE
from chatsite.accounts.models import User
from conversations.models import Conversation, Submission
from streaming.models import Stream
from tests.conftest import PASSWORD

BRING = reverse("accounts:bring-chats-along")
SIGN_IN = reverse("accounts:sign-in")
START = settings.LOGIN_REDIRECT_URL

pytestmark = pytest.mark.django_db


def sign_in(client: Client, user: User, **more: str):
    return client.post(SIGN_IN, {"username": user.email, "password": PASSWORD, **more})


@pytest.fixture
def offered(guest_client: Client, guests_chats: list[Conversation], owner: User) -> Client:
    """The guest's browser after signing in to the owner's account."""
    sign_in(guest_client, owner, next="/c/1/")
    return guest_client


def test_a_guest_with_chats_is_asked_after_signing_in(
    guest_client: Client, guests_chats: list[Conversation], owner: User
) -> None:
    response = sign_in(guest_client, owner)

    assert response.headers["Location"] == BRING
    assert "Move my 2 chats" in guest_client.get(BRING).text
    assert guest_client.session["_auth_user_id"] == str(owner.pk)


def test_a_guest_without_chats_is_not_asked(guest_client: Client, owner: User) -> None:
    assert sign_in(guest_client, owner).headers["Location"] == START
    assert guest_client.get(BRING).headers["Location"] == START


def test_the_session_of_the_guest_is_not_taken_over(
    guest_client: Client, guests_chats: list[Conversation], owner: User
) -> None:
    before = guest_client.session.session_key
    sign_in(guest_client, owner)

    assert guest_client.session.session_key != before
    assert not guest_client.session.exists(before)


def test_yes_brings_chats_and_streams_and_deletes_the_guest(
    offered: Client, guest: User, owner: User, guests_chats: list[Conversation]
) -> None:
    running = Stream.objects.create(generator="test", owner=guest, status="streaming")
    sent = Submission.objects.create(
        user=guest, key="6a7f8c0e-0000-4000-8000-000000000001", body_hash="x"
    )
    own = Conversation.objects.create(owner=owner, title="Own")
    response = offered.post(BRING, {"answer": "yes"})

    assert response.headers["Location"] == "/c/1/"
    assert set(owner.conversations.visible()) == {own, *guests_chats}
    assert owner.streams.get() == running
    assert owner.submissions.get() == sent
    assert not User.objects.filter(pk=guest.pk).exists()
    assert User.objects.get(pk=owner.pk).version == owner.version + 1


def test_no_leaves_everything_where_it_is(
    offered: Client, guest: User, owner: User, guests_chats: list[Conversation]
) -> None:
    response = offered.post(BRING, {"answer": "no"})

    assert response.headers["Location"] == START
    assert not owner.conversations.exists()
    assert set(guest.conversations.visible()) == set(guests_chats)


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_it_is_asked_once(offered: Client, guest: User, owner: User, answer: str) -> None:
    offered.post(BRING, {"answer": answer})
    left = guest.conversations.count()

    assert offered.get(BRING).headers["Location"] == START
    assert offered.post(BRING, {"answer": "yes"}).headers["Location"] == START
    assert guest.conversations.count() == left


def test_an_unclear_answer_asks_again(offered: Client, guest: User) -> None:
    assert offered.post(BRING, {"answer": "perhaps"}).status_code == 422
    assert offered.post(BRING, {"guest": guest.pk}).status_code == 422
    assert guest.conversations.visible().count() == 2


def test_another_session_of_the_account_cannot_take_the_chats(
    offered: Client, client_of, owner: User, guest: User
) -> None:
    elsewhere = client_of(owner)

    assert elsewhere.post(BRING, {"answer": "yes", "guest": guest.pk}).headers["Location"] == START
    assert guest.conversations.visible().count() == 2


def test_the_offer_ends_when_somebody_else_signs_in(
    offered: Client, stranger: User, guest: User
) -> None:
    sign_in(offered, stranger)
    offered.post(BRING, {"answer": "yes"})

    assert not stranger.conversations.exists()
    assert guest.conversations.visible().count() == 2


def test_the_offer_ends_with_signing_out(offered: Client, owner: User, guest: User) -> None:
    offered.post(reverse("accounts:sign-out"))
    sign_in(offered, owner)

    assert offered.get(BRING).headers["Location"] == START
    assert guest.conversations.visible().count() == 2


def test_a_guest_who_became_an_account_keeps_the_chats(
    offered: Client, guest: User, owner: User
) -> None:
    guest.become_account("ann@example.com", PASSWORD)

    assert offered.post(BRING, {"answer": "yes"}).headers["Location"] == "/c/1/"
    assert guest.conversations.visible().count() == 2
    assert not owner.conversations.exists()


def test_bringing_along_twice_brings_once(
    guest: User, owner: User, guests_chats: list[Conversation]
) -> None:
    assert bring_chats_along(guest.pk, owner) == 2
    assert bring_chats_along(guest.pk, owner) == 0
    assert owner.conversations.visible().count() == 2


def test_what_is_left_behind_opens_to_nobody_with_the_cookie(client: Client, owner: User) -> None:
    cookie = client.get(SIGN_IN).cookies[COOKIE].value
    client.post(reverse("accounts:sign-in-guest"))
    guest = User.objects.exclude(pk=owner.pk).get()
    Conversation.objects.create(owner=guest)
    sign_in(client, owner)
    thief = Client()
    thief.cookies[COOKIE] = cookie
    thief.post(reverse("accounts:sign-in-guest"))

    assert thief.session["_auth_user_id"] != str(guest.pk)


def test_a_visitor_has_no_offer(client: Client) -> None:
    assert client.get(BRING).headers["Location"] == START
    assert client.post(BRING, {"answer": "yes"}).headers["Location"] == START


def test_the_csrf_token_is_needed(offered: Client, guest: User) -> None:
    offered.handler.enforce_csrf_checks = True

    assert offered.post(BRING, {"answer": "yes"}).status_code == 403
    assert guest.conversations.visible().count() == 2

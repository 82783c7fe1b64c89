from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.signals import pre_save
from django.test import Client
from django.urls import reverse

from chatsite.accounts.guests import COOKIE
from chatsite.accounts.models import User
from chatsite.accounts.throttles import PER_NETWORK
from conversations.models import Conversation
from streaming.models import Stream
from tests.conftest import PASSWORD

SIGN_IN = reverse("accounts:sign-in")
SIGN_IN_GUEST = reverse("accounts:sign-in-guest")
SIGN_UP = reverse("accounts:sign-up")

pytestmark = pytest.mark.django_db


def form(email: str = "ann@example.com", password: str = PASSWORD, **more: str) -> dict[str, str]:
    return {"email": email, "password1": password, "password2": password, **more}


def test_a_visitor_gets_an_account_and_is_signed_in(client: Client) -> None:
    response = client.post(SIGN_UP, form(" Ann@Example.com "))

    account = User.objects.get()
    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL
    assert client.session["_auth_user_id"] == str(account.pk)
    assert account.email == "ann@example.com"
    assert account.check_password(PASSWORD)


def test_a_guest_becomes_an_account_on_the_same_row(
    guest: User, guest_client: Client, guests_chats: list[Conversation]
) -> None:
    running = Stream.objects.create(generator="test", owner=guest, status="streaming")
    guest_client.post(SIGN_UP, form())

    account = User.objects.get()
    assert account.pk == guest.pk
    assert not account.is_guest
    assert account.check_password(PASSWORD)
    assert account.version == guest.version + 1
    assert set(account.conversations.visible()) == set(guests_chats)
    assert account.streams.get() == running
    assert account.streams.get().status == "streaming"


def test_the_upgrade_changes_session_key_and_csrf_token(guest_client: Client) -> None:
    guest_client.get(SIGN_UP)
    session, token = guest_client.session.session_key, guest_client.cookies["csrftoken"].value
    guest_client.post(SIGN_UP, form())

    assert guest_client.session.session_key != session
    assert guest_client.cookies["csrftoken"].value != token
    assert not guest_client.session.exists(session)


def test_the_guests_other_sessions_end(guest: User, guest_client: Client, client_of) -> None:
    elsewhere = client_of(guest)
    guest_client.post(SIGN_UP, form())

    assert not elsewhere.get(SIGN_IN).context["user"].is_authenticated


def test_the_guest_cookie_never_signs_in_to_the_account(client: Client) -> None:
    cookie = client.get(SIGN_IN).cookies[COOKIE].value
    client.post(SIGN_IN_GUEST)
    client.post(SIGN_UP, form())
    thief = Client()
    thief.cookies[COOKIE] = cookie
    thief.post(SIGN_IN_GUEST)

    account = User.objects.get(email="ann@example.com")
    assert client.cookies[COOKIE].value != cookie
    assert account.guest_key is None
    assert thief.session["_auth_user_id"] != str(account.pk)


def test_the_page_tells_a_guest_that_the_chats_stay(
    guest_client: Client, guests_chats: list[Conversation]
) -> None:
    assert "Your 2 chats are kept" in guest_client.get(SIGN_UP).text


def test_somebody_with_an_account_is_sent_on(client_of, owner: User) -> None:
    client = client_of(owner)

    assert client.get(SIGN_UP, {"next": "/c/1/"}).headers["Location"] == "/c/1/"
    assert client.post(SIGN_UP, form()).status_code == 302
    assert User.objects.get().email == owner.email


def test_an_address_that_has_an_account_is_refused_in_any_spelling(
    client: Client, owner: User
) -> None:
    response = client.post(SIGN_UP, form("OWNER@example.com"))

    assert response.status_code == 422
    assert "already exists" in response.text
    assert User.objects.count() == 1


def test_a_guest_who_gives_a_taken_address_stays_a_guest(
    guest: User, guest_client: Client, owner: User
) -> None:
    response = guest_client.post(SIGN_UP, form(owner.email))

    guest.refresh_from_db()
    assert response.status_code == 422
    assert response.context["user"].is_guest
    assert guest.is_guest


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (form(""), "email"),
        (form("no address"), "email"),
        (form(password="short"), "password1"),
        (form(password="password"), "password1"),
        (form(password="ann@example.com"), "password1"),
        (form() | {"password2": "another one"}, "password2"),
    ],
)
def test_bad_input_is_refused_beside_its_field(
    client: Client, data: dict[str, str], field: str
) -> None:
    response = client.post(SIGN_UP, data)

    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert f'id="id_{field}_error"' in response.text
    assert not User.objects.exists()


def test_what_was_typed_stays_but_not_the_password(client: Client) -> None:
    page = client.post(SIGN_UP, form("ann@example", "not-to-be-shown")).text

    assert 'value="ann@example"' in page
    assert "not-to-be-shown" not in page


@pytest.mark.parametrize("as_guest", [False, True])
def test_nobody_makes_themselves_staff(client: Client, as_guest: bool) -> None:
    if as_guest:
        client.post(SIGN_IN_GUEST)
    client.post(SIGN_UP, form(is_staff="on", is_superuser="on", version="9", id="77"))

    account = User.objects.get()
    assert not account.is_staff
    assert not account.is_superuser
    assert account.pk != 77


def test_trying_out_addresses_is_slow(client: Client, owner: User) -> None:
    def attempt(email: str):
        return client.post(SIGN_UP, form(email), REMOTE_ADDR="203.0.113.7")

    for _ in range(PER_NETWORK):
        assert attempt(owner.email).status_code == 422

    assert attempt(owner.email).status_code == 429


def test_an_address_taken_in_the_last_moment_is_a_sentence(client: Client) -> None:
    def somebody_else(instance: User, **kwargs: object) -> None:
        pre_save.disconnect(somebody_else, sender=User)
        User.objects.create_user(instance.email, PASSWORD)

    pre_save.connect(somebody_else, sender=User)
    response = client.post(SIGN_UP, form())

    assert response.status_code == 422
    assert "already exists" in response.text


def test_of_guests_who_take_one_address_at_once_one_gets_it(
    transactional_db: None, client_of
) -> None:
    clients = [client_of(User.objects.guest_of(None)) for _ in range(5)]
    together = Barrier(len(clients))

    def upgrade(client: Client) -> int:
        try:
            together.wait(10)
            return client.post(SIGN_UP, form()).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(clients)) as threads:
        statuses = sorted(threads.map(upgrade, clients))

    assert statuses == [302, 422, 422, 422, 422]
    assert User.objects.filter(email="ann@example.com").count() == 1


def test_two_upgrades_of_one_guest_make_one_account(guest: User) -> None:
    assert guest.become_account("first@example.com", PASSWORD)
    assert not guest.become_account("second@example.com", PASSWORD)
    assert User.objects.get().email == "first@example.com"


def test_the_csrf_token_is_needed() -> None:
    assert Client(enforce_csrf_checks=True).post(SIGN_UP, form()).status_code == 403


def test_it_never_leads_to_another_site(client: Client) -> None:
    response = client.post(SIGN_UP, form(next="https://evil.example/"))

    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL

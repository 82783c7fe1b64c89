from __future__ import annotations

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from chatsite.accounts.models import User
from chatsite.accounts.throttles import PER_NETWORK, PER_PERSON
from tests.conftest import PASSWORD

SIGN_IN = reverse("accounts:sign-in")

pytestmark = pytest.mark.django_db


def sign_in(client: Client, email: str, password: str = PASSWORD, address: str = "", **more: str):
    data = {"username": email, "password": password, **more}
    return client.post(SIGN_IN, data, REMOTE_ADDR=address or "127.0.0.1")


def test_the_right_password_signs_in(client: Client, owner: User) -> None:
    response = sign_in(client, owner.email)

    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL
    assert client.session["_auth_user_id"] == str(owner.pk)


def test_case_and_spaces_of_the_address_do_not_matter(client: Client, owner: User) -> None:
    assert sign_in(client, " OWNER@Example.COM ").status_code == 302


def test_the_session_key_changes(client: Client, owner: User) -> None:
    session = client.session
    session["before"] = True
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    sign_in(client, owner.email)

    assert client.session.session_key != session.session_key


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    client: Client, owner: User
) -> None:
    wrong = sign_in(client, owner.email, "wrong")
    unknown = sign_in(client, "nobody@example.com", "wrong")

    assert wrong.status_code == unknown.status_code == 422
    assert wrong.context["form"].errors == unknown.context["form"].errors
    assert "Wrong email address or password" in wrong.text


def test_a_blocked_account_gets_that_answer_too(client: Client, owner: User) -> None:
    User.objects.update(is_active=False)

    response = sign_in(client, owner.email)
    assert response.status_code == 422
    assert "Wrong email address or password" in response.text


def test_what_was_typed_stays_but_not_the_password(client: Client) -> None:
    page = sign_in(client, "ann@example.com", "not-to-be-shown").text

    assert 'value="ann@example.com"' in page
    assert "not-to-be-shown" not in page


def test_an_empty_form_is_refused(client: Client) -> None:
    assert sign_in(client, "", "").status_code == 422


def test_a_guest_cannot_be_signed_in_to_with_an_empty_password(client: Client, guest: User) -> None:
    assert sign_in(client, "", PASSWORD).status_code == 422
    assert "_auth_user_id" not in client.session


def test_the_csrf_token_is_needed(owner: User) -> None:
    assert sign_in(Client(enforce_csrf_checks=True), owner.email).status_code == 403


def test_the_page_is_kept_by_no_cache(client: Client) -> None:
    assert "no-store" in client.get(SIGN_IN).headers["Cache-Control"]


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_it_never_leads_to_another_site(client: Client, owner: User, target: str) -> None:
    response = sign_in(client, owner.email, next=target)

    assert response.headers["Location"] == settings.LOGIN_REDIRECT_URL


def test_it_leads_back_to_the_page_that_was_asked_for(client: Client, owner: User) -> None:
    assert 'value="/c/1/?a=b"' in client.get(SIGN_IN, {"next": "/c/1/?a=b"}).text
    assert sign_in(client, owner.email, next="/c/1/").headers["Location"] == "/c/1/"


def test_too_many_attempts_at_one_address_are_refused(client: Client, owner: User) -> None:
    for _ in range(PER_PERSON):
        assert sign_in(client, owner.email, "wrong").status_code == 422

    refused = sign_in(client, owner.email)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "900"
    assert "Too many attempts" in refused.text
    assert "_auth_user_id" not in client.session


def test_an_unknown_address_is_refused_after_as_many(client: Client) -> None:
    statuses = [sign_in(client, "nobody@example.com").status_code for _ in range(PER_PERSON + 1)]

    assert statuses == [422] * PER_PERSON + [429]


def test_other_accounts_are_not_affected(client: Client, owner: User, stranger: User) -> None:
    for _ in range(PER_PERSON + 1):
        sign_in(client, owner.email, "wrong")

    assert sign_in(client, stranger.email).status_code == 302


def test_the_right_password_forgets_earlier_slips(client: Client, owner: User) -> None:
    for _ in range(PER_PERSON - 1):
        sign_in(client, owner.email, "wrong")
    sign_in(client, owner.email)

    assert sign_in(client, owner.email, "wrong").status_code == 422


def test_a_network_that_tries_many_accounts_is_refused(client: Client, owner: User) -> None:
    for number in range(PER_NETWORK):
        sign_in(client, f"{number}@example.com", address="203.0.113.7")

    assert sign_in(client, owner.email, address="203.0.113.7").status_code == 429
    assert sign_in(client, owner.email, address="203.0.113.8").status_code == 302


def test_one_ipv6_network_counts_as_one(client: Client, owner: User) -> None:
    for number in range(PER_NETWORK):
        sign_in(client, f"{number}@example.com", address=f"2001:db8::{number:x}")

    assert sign_in(client, owner.email, address="2001:db8::ffff:1").status_code == 429
    assert sign_in(client, owner.email, address="2001:db8:0:1::1").status_code == 302


def test_mapped_ipv4_addresses_are_not_one_network(client: Client, owner: User) -> None:
    for number in range(PER_NETWORK):
        sign_in(client, f"{number}@example.com", address="::ffff:203.0.113.7")

    assert sign_in(client, owner.email, address="::ffff:203.0.113.8").status_code == 302


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "unix:"])
def test_a_proxy_that_hides_its_clients_locks_nobody_out(
    client: Client, owner: User, address: str
) -> None:
    for number in range(PER_NETWORK + 1):
        sign_in(client, f"{number}@example.com", address=address)

    assert sign_in(client, owner.email, address=address).status_code == 302


def test_signing_in_rightly_does_not_use_the_network_up(client: Client, owner: User) -> None:
    for _ in range(PER_NETWORK + 1):
        assert sign_in(client, owner.email, address="203.0.113.7").status_code == 302


def test_the_attempts_are_forgotten_with_the_window(client: Client, owner: User) -> None:
    for _ in range(PER_PERSON + 1):
        sign_in(client, owner.email, "wrong")
    cache.clear()

    assert sign_in(client, owner.email).status_code == 302

from __future__ import annotations

import re

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from chatsite.accounts.models import User
from chatsite.accounts.throttles import PER_PERSON
from tests.conftest import PASSWORD

SIGN_IN = reverse("accounts:sign-in")
CHANGE = reverse("accounts:password-change")
RESET = reverse("accounts:password-reset")
NEW = "another correct horse"

pytestmark = pytest.mark.django_db


def change(client: Client, old: str = PASSWORD, new: str = NEW):
    return client.post(CHANGE, {"old_password": old, "new_password1": new, "new_password2": new})


def set_new(client: Client, page, new: str = NEW):
    return client.post(page, {"new_password1": new, "new_password2": new})


def link_in_the_mail() -> str:
    link = re.search(r"http://testserver(/\S+)", mail.outbox[-1].body)
    assert link
    return link[1]


def reset_page_of(user: User, token: str) -> str:
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("accounts:password-reset-confirm", args=[uid, token])


# --- Change


def test_the_password_changes_and_the_session_goes_on(client_of, owner: User) -> None:
    client = client_of(owner)
    before = client.session.session_key
    response = change(client)

    owner.refresh_from_db()
    assert owner.check_password(NEW)
    assert client.session.session_key != before
    assert "Password changed" in client.get(response.headers["Location"]).text


def test_a_change_ends_the_other_sessions(client_of, owner: User) -> None:
    elsewhere = client_of(owner)
    change(client_of(owner))

    assert not elsewhere.get(SIGN_IN).context["user"].is_authenticated


@pytest.mark.parametrize(("old", "new"), [("wrong", NEW), (PASSWORD, "short"), (PASSWORD, "")])
def test_a_bad_change_is_refused(client_of, owner: User, old: str, new: str) -> None:
    assert change(client_of(owner), old, new).status_code == 422
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)


def test_a_borrowed_session_cannot_guess_the_password(client_of, owner: User) -> None:
    client = client_of(owner)
    for _ in range(PER_PERSON):
        assert change(client, "wrong").status_code == 422

    assert change(client).status_code == 429


def test_a_visitor_is_asked_to_sign_in_first(client: Client) -> None:
    assert client.get(CHANGE).headers["Location"] == f"{SIGN_IN}?next={CHANGE}"


def test_a_guest_is_offered_an_account_instead(guest_client: Client) -> None:
    assert guest_client.get(CHANGE).headers["Location"] == reverse("accounts:sign-up")


# --- Reset


def test_the_link_in_the_mail_sets_a_new_password_once(client: Client, owner: User) -> None:
    client.post(RESET, {"email": "Owner@Example.com"})
    link = link_in_the_mail()
    page = client.get(link).headers["Location"]
    response = set_new(client, page)

    owner.refresh_from_db()
    assert mail.outbox[0].to == [owner.email]
    assert owner.check_password(NEW)
    assert "Password changed" in client.get(response.headers["Location"]).text
    assert "already been used" in client.get(link).text


def test_the_link_does_not_stand_in_the_form_page_s_address(client: Client, owner: User) -> None:
    client.post(RESET, {"email": owner.email})
    link = link_in_the_mail()

    assert client.get(link).headers["Location"].endswith("/set-password/")


def test_a_reset_ends_the_sessions(client_of, client: Client, owner: User) -> None:
    elsewhere = client_of(owner)
    client.post(RESET, {"email": owner.email})
    set_new(client, client.get(link_in_the_mail()).headers["Location"])

    assert not elsewhere.get(SIGN_IN).context["user"].is_authenticated


def test_after_a_reset_the_owner_gets_in_although_others_tried(client: Client, owner: User) -> None:
    for _ in range(PER_PERSON + 1):
        client.post(SIGN_IN, {"username": owner.email, "password": "wrong"})
    client.post(RESET, {"email": owner.email})
    set_new(client, client.get(link_in_the_mail()).headers["Location"])

    response = client.post(SIGN_IN, {"username": owner.email, "password": NEW})
    assert response.status_code == 302


def test_an_unknown_address_gets_the_same_answer_and_no_mail(client: Client, owner: User) -> None:
    known = client.post(RESET, {"email": owner.email})
    unknown = client.post(RESET, {"email": "nobody@example.com"})

    assert known.headers["Location"] == unknown.headers["Location"]
    assert known.status_code == unknown.status_code == 302
    assert [message.to for message in mail.outbox] == [[owner.email]]


def test_too_many_mails_to_one_address_are_refused_known_or_not(
    client: Client, owner: User
) -> None:
    for email in (owner.email, "nobody@example.com"):
        statuses = [client.post(RESET, {"email": email}).status_code for _ in range(PER_PERSON + 1)]
        assert statuses == [302] * PER_PERSON + [429]
    assert len(mail.outbox) == PER_PERSON


@pytest.mark.parametrize("email", ["", "no address"])
def test_a_reset_without_an_address_is_refused(client: Client, email: str) -> None:
    assert client.post(RESET, {"email": email}).status_code == 422
    assert not mail.outbox


@pytest.mark.parametrize("token", ["x", "set-password", "0-0", "c0ffee-" + "0" * 32])
def test_a_made_up_token_opens_nothing(client: Client, owner: User, token: str) -> None:
    page = reset_page_of(owner, token)

    assert "already been used or has expired" in client.get(page).text
    set_new(client, page)
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)


def test_another_accounts_token_opens_nothing(client: Client, owner: User, stranger: User) -> None:
    page = reset_page_of(owner, default_token_generator.make_token(stranger))

    assert "already been used or has expired" in client.get(page).text


def test_a_weak_new_password_is_refused(client: Client, owner: User) -> None:
    client.post(RESET, {"email": owner.email})

    response = set_new(client, client.get(link_in_the_mail()).headers["Location"], "short")
    assert response.status_code == 422


@pytest.mark.parametrize(
    "name", ["password-reset", "password-reset-done", "password-reset-complete"]
)
def test_the_pages_stand_alone(client: Client, name: str) -> None:
    assert client.get(reverse(f"accounts:{name}")).status_code == 200

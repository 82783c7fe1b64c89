from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from chatsite.accounts import actions
from chatsite.accounts.models import User
from conversations.actions import Sent, retry, start_conversation
from conversations.models import Conversation, Message, Submission
from streaming.actions import stop
from streaming.models import Chunk, Status, Stream
from tests.conftest import PASSWORD
from tests.streaming.rows import write

LIST = reverse("admin:accounts_user_changelist")
ADD = reverse("admin:accounts_user_add")
ADMIN_SIGN_IN = reverse("admin:login")

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditors(client_of, auditor: User) -> Client:
    return client_of(auditor)


def page_of(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def retry_of(sent: Sent) -> Message:
    """A second, running answer beside a first one that has text and was stopped."""
    stream = sent.answer.stream
    assert stream
    write(stream, "some ", "text")
    stop(stream)
    return retry(sent.answer, key=uuid4())


def test_guests_and_accounts_are_listed(auditors: Client, owner: User, guest: User) -> None:
    page = auditors.get(LIST).text

    assert owner.email in page
    assert f"Guest {guest.pk}" in page


def test_the_list_is_searched_by_email(auditors: Client, owner: User, stranger: User) -> None:
    page = auditors.get(LIST, {"q": "owner"}).text

    assert owner.email in page
    assert stranger.email not in page


@pytest.mark.parametrize(("kind", "listed"), [("guest", True), ("account", False)])
def test_the_list_is_filtered_by_kind(
    auditors: Client, guest: User, kind: str, listed: bool
) -> None:
    assert (f"Guest {guest.pk}" in auditors.get(LIST, {"kind": kind}).text) is listed


def test_staff_can_add_an_account(auditors: Client) -> None:
    auditors.post(
        ADD,
        {
            "email": "Ann@Example.com",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    assert User.objects.get(email="ann@example.com").check_password(PASSWORD)


def test_a_taken_address_is_a_sentence(auditors: Client, owner: User) -> None:
    data = {"email": "OWNER@example.com", "usable_password": "false"}

    assert "already exists" in auditors.post(ADD, data).text


def test_a_guest_can_be_blocked_and_stays_a_guest(auditors: Client, guest: User) -> None:
    assert auditors.post(page_of(guest), {"email": ""}).status_code == 302

    guest.refresh_from_db()
    assert not guest.is_active
    assert guest.is_guest


def test_an_address_given_to_a_guest_takes_the_cookie_s_key_away(
    auditors: Client, guest: User
) -> None:
    auditors.post(page_of(guest), {"email": "ann@example.com", "is_active": "on"})

    guest.refresh_from_db()
    assert guest.email == "ann@example.com"
    assert guest.guest_key is None


@pytest.mark.django_db(transaction=True)
def test_a_person_is_deleted_with_everything_of_theirs(auditors: Client, owner: User) -> None:
    sent = start_conversation(owner, "Forget me", key=uuid4())
    retry_of(sent)

    page = reverse("admin:accounts_user_delete", args=[owner.pk])
    assert "Forget me" in auditors.get(page).text
    assert auditors.post(page, {"post": "yes"}).status_code == 302

    assert not User.objects.filter(pk=owner.pk).exists()
    for model in (Conversation, Message, Submission, Stream, Chunk):
        assert not model.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_was_cut_short_leaves_a_blocked_person_and_can_go_on(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = retry_of(start_conversation(owner, "Forget me", key=uuid4()))

    def die(pk: object, until: float) -> None:
        raise SystemExit

    monkeypatch.setattr(actions, "purge", die)
    with pytest.raises(SystemExit):
        actions.delete_person(owner)

    owner.refresh_from_db()
    assert not owner.is_active
    assert not Conversation.objects.visible().exists()
    assert answer.stream
    answer.stream.refresh_from_db()
    assert (answer.stream.status, answer.stream.end_reason) == (Status.STOPPED, "deleted")

    monkeypatch.undo()
    actions.delete_person(owner)
    assert not User.objects.exists()
    assert not Stream.objects.exists()
    actions.delete_person(owner)


def test_the_guest_key_is_not_shown(auditors: Client, guest: User) -> None:
    assert guest.guest_key not in auditors.get(page_of(guest)).text


def test_the_admin_has_no_form_of_its_own_to_sign_in(client: Client, auditor: User) -> None:
    data = {"username": auditor.email, "password": PASSWORD}
    response = client.post(f"{ADMIN_SIGN_IN}?next=/admin/", data)

    assert response.headers["Location"] == f"{reverse('accounts:sign-in')}?next=/admin/"
    assert "_auth_user_id" not in client.session


def test_who_is_no_staff_is_asked_to_sign_in_as_somebody_else(client_of, owner: User) -> None:
    response = client_of(owner).get("/admin/", follow=True)

    assert f"You are signed in as {owner.email}" in response.text


def test_the_admin_changes_passwords_by_the_throttled_form(auditors: Client) -> None:
    response = auditors.post(reverse("admin:password_change"), {"old_password": PASSWORD})

    assert response.headers["Location"] == reverse("accounts:password-change")

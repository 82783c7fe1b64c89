from __future__ import annotations

import base64
import time
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatsite.accounts import actions
from chatsite.accounts.guests import COOKIE
from chatsite.accounts.models import User
from chatsite.accounts.throttles import PER_PERSON
from conversations import own_keys
from conversations.actions import retry, start_conversation
from conversations.keeping import delete_conversation
from conversations.models import Conversation, Defaults, Message, Persona, ProviderKey, Rating
from streaming.actions import stop
from streaming.models import Chunk, Stream
from tests.conftest import PASSWORD
from tests.streaming.rows import write

DELETE = reverse("accounts:account-delete")
DELETED = reverse("accounts:account-deleted")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine removes all of it in one request, too."""
    monkeypatch.setattr("chatsite.accounts.views.CHORE_SECONDS", 60)


def rows() -> dict[str, int]:
    """How many rows there are of each model of every app that are about somebody."""
    # Of nobody: the names of models and permissions.
    general = ("contenttypes", "auth")
    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.app_label not in general
    }


def fill(user: User, settings) -> Stream:
    """Something of everything that a person can have; the answer that runs."""
    settings.FIELD_ENCRYPTION_KEYS = [base64.b64encode(bytes(32)).decode()]
    settings.OWN_KEYS = ["openai"]
    sent = start_conversation(user, "Forget me", key=uuid4())
    assert sent.answer.stream
    write(sent.answer.stream, "some ", "text")
    stop(sent.answer.stream)
    Message.objects.filter(pk=sent.answer.pk).update(rating=Rating.BAD, rating_word="Forget that")
    running = retry(Message.objects.get(pk=sent.answer.pk), key=uuid4())
    assert running.stream
    write(running.stream, "more")
    running.queued.create(content="And then?")
    delete_conversation(start_conversation(user, "Deleted before", key=uuid4()).conversation)
    Persona.objects.create(owner=user, name="Pirate", prompt="Arr.")
    Defaults.objects.create(user=user, system_prompt="Be brief.")
    own_keys.add(user, "openai", "sk-canary-0123456789wxyz", "")
    content_type = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(user=user, content_type=content_type, action_flag=CHANGE)
    # One that no chat has: of another app that uses the streams.
    Stream.objects.create(
        generator="test", owner=user, status="done", end_reason="complete", ended_at=timezone.now()
    )
    return running.stream


def confirm(client: Client, password: str = PASSWORD):
    return client.post(DELETE, {"password": password})


def test_no_row_of_an_account_is_left(client_of, owner: User, settings) -> None:
    fill(owner, settings)
    devices = [client_of(owner) for _ in range(2)]
    assert all(rows().values()), "something of everything"
    response = confirm(devices[0])
    assert response["Location"] == DELETED
    assert not any(rows().values())
    for device in devices:
        assert device.get(DELETE)["Location"].startswith(reverse("accounts:sign-in"))
    assert "Your data is gone." in devices[0].get(DELETED).text


def test_a_guest_confirms_without_a_password(client: Client, settings) -> None:
    client.get("/")
    client.post(reverse("accounts:sign-in-guest"))
    guest = User.objects.get()
    cookie = client.cookies[COOKIE].value
    fill(guest, settings)
    page = client.get(DELETE).text
    assert "1 chat will be deleted" in page
    assert 'type="password"' not in page
    response = client.post(DELETE)
    assert response["Clear-Site-Data"] == '"storage"'
    assert client.cookies[COOKIE].value != cookie
    assert not any(rows().values())


def test_others_keep_everything(client_of, owner: User, stranger: User, settings) -> None:
    fill(stranger, settings)
    theirs = client_of(stranger)
    before = rows()
    fill(owner, settings)
    confirm(client_of(owner))
    before["accounts.User"] -= 1
    assert rows() == before
    assert theirs.get(DELETE).status_code == 200


def test_a_wrong_password_is_a_sentence_in_place(client_of, owner: User) -> None:
    for password in ("wrong", ""):
        response = confirm(client_of(owner), password)
        assert response.status_code == 422
        assert "field-error" in response.text
    assert "Wrong password." in confirm(client_of(owner), "wrong").text
    assert User.objects.filter(is_active=True, deleted_at=None).exists()


def test_a_password_is_not_guessed_here(client_of, owner: User) -> None:
    client = client_of(owner)
    for _ in range(PER_PERSON):
        confirm(client, "wrong")
    response = confirm(client)
    assert response.status_code == 429
    assert "Too many attempts." in response.text
    assert User.objects.filter(pk=owner.pk).exists()


def test_the_page_says_what_goes_and_visitors_are_asked_to_sign_in(
    client: Client, client_of, owner: User
) -> None:
    page = client_of(owner).get(DELETE).text
    assert owner.email in page
    assert "This cannot be undone." in page
    assert DELETE in client_of(owner).get("/settings/").text
    for response in (client.get(DELETE), client.post(DELETE)):
        assert response["Location"] == f"{reverse('accounts:sign-in')}?next={DELETE}"


def test_what_is_large_goes_by_the_chore(client_of, owner: User, settings, monkeypatch) -> None:
    running = fill(owner, settings)
    device = client_of(owner)
    monkeypatch.setattr("chatsite.accounts.views.CHORE_SECONDS", -1)
    assert confirm(client_of(owner))["Location"] == DELETED

    # Nobody is them any more, and nobody sees what is left.
    person = User.objects.get(pk=owner.pk)
    assert (person.email, person.is_active) == (None, False)
    assert not person.has_usable_password()
    assert device.get(DELETE).status_code == 302
    assert not Session.objects.exists()
    assert not Conversation.objects.visible().exists()
    running.refresh_from_db()
    assert (running.status, running.end_reason) == ("stopped", "deleted")
    assert Chunk.objects.exists()
    # The address is free at once.
    User.objects.create_user("owner@example.com", PASSWORD)

    monkeypatch.setattr(actions, "CHORE_SECONDS", -1)
    actions.finish_deletions()
    assert Chunk.objects.exists()
    monkeypatch.setattr(actions, "CHORE_SECONDS", 60)
    actions.finish_deletions()
    assert not Chunk.objects.exists()
    assert not ProviderKey.objects.exists()
    assert User.objects.get().email == "owner@example.com"
    actions.finish_deletions()


def test_the_chore_leaves_those_alone_whom_an_operator_blocked(guest: User) -> None:
    User.objects.filter(pk=guest.pk).update(is_active=False)
    actions.finish_deletions()
    assert User.objects.filter(pk=guest.pk).exists()


def test_a_guest_who_goes_leaves_nothing_to_bring_along(guest: User, owner: User) -> None:
    start_conversation(guest, "Forget me", key=uuid4())
    actions.delete_person(guest, until=time.monotonic() - 1)
    assert User.objects.filter(pk=guest.pk).exists()
    assert actions.bring_chats_along(guest.pk, owner) == 0
    assert not owner.conversations.exists()

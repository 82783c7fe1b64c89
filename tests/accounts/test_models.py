from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from chatsite.accounts.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def createsuperuser(**options: str) -> None:
    call_command("createsuperuser", interactive=False, stdout=io.StringIO(), **options)


def test_createsuperuser_takes_the_address_as_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    createsuperuser(email="Admin@Example.com")

    admin = User.objects.get(email="admin@example.com")
    assert admin.is_staff
    assert admin.is_superuser
    assert admin.check_password(PASSWORD)


def test_createsuperuser_reads_everything_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_EMAIL", "admin@example.com")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    createsuperuser()

    assert User.objects.get().email == "admin@example.com"


def test_createsuperuser_says_that_an_address_is_taken(owner: User) -> None:
    with pytest.raises(CommandError, match="already exists"):
        createsuperuser(email="OWNER@example.com")


def test_an_account_needs_an_address() -> None:
    with pytest.raises(ValueError, match="email"):
        User.objects.create_user(" ", PASSWORD)


@pytest.mark.parametrize("email", ["owner@example.com", "OWNER@Example.Com", " owner@example.com "])
def test_an_account_is_found_in_any_spelling(owner: User, email: str) -> None:
    assert User.objects.get_by_natural_key(email) == owner


@pytest.mark.parametrize("email", [None, "", "owner@example.co"])
def test_no_account_is_found_without_its_address(owner: User, guest: User, email: str) -> None:
    assert not User.objects.with_email(email).exists()


def test_the_database_refuses_a_second_spelling(owner: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="OWNER@example.com")


def test_the_database_refuses_an_account_with_a_guest_key(guest: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=guest.pk).update(email="ann@example.com")


def test_looking_an_address_up_uses_the_index(owner: User) -> None:
    plan = User.objects.with_email(owner.email).explain()

    if connection.vendor == "sqlite":
        assert "USING INDEX user_email_unique" in plan

"""The cast of the tests and the private services that they may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils import translation

if TYPE_CHECKING:
    from chatsite.accounts.models import User

pytest_plugins = ["tests.services"]

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def language() -> Iterator[None]:
    """A request in another language leaves it behind in its thread: not for the next test."""
    yield
    translation.deactivate()


@pytest.fixture
def owner(db: None) -> User:
    """An account; what a test makes belongs to it."""
    return make_account("owner@example.com")


@pytest.fixture
def stranger(db: None) -> User:
    """Another account, which must never learn what the owner has."""
    return make_account("stranger@example.com")


@pytest.fixture
def guest(db: None) -> User:
    """Somebody who signed in anonymously: no email, no password."""
    from chatsite.accounts.models import User

    user = User(guest_key="guest-of-the-tests")
    user.set_unusable_password()
    user.save()
    return user


@pytest.fixture
def auditor(db: None) -> User:
    """A member of staff who may see everything in the admin."""
    return make_account("auditor@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """`client_of(user)`: a test client of its own, in which `user` is signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def make_account(email: str, **fields: bool) -> User:
    from chatsite.accounts.models import User

    return User.objects.create_user(email, PASSWORD, **fields)

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client

from chatsite.accounts.models import User
from conversations.models import Conversation


@pytest.fixture(autouse=True)
def _no_earlier_attempts() -> None:
    cache.clear()


@pytest.fixture
def guest_client(guest: User, client_of: Callable[[User], Client]) -> Client:
    """A browser in which the guest is signed in."""
    return client_of(guest)


@pytest.fixture
def guests_chats(guest: User) -> list[Conversation]:
    """Two chats of the guest, and a third that was deleted and is not counted."""
    chats = [Conversation.objects.create(owner=guest, title=title) for title in ("One", "Two")]
    Conversation.objects.create(owner=guest, title="Deleted", deleted_at=guest.date_joined)
    return chats

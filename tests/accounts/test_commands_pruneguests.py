from __future__ import annotations

import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils import timezone

from conversations.actions import Sent, start_conversation
from conversations.models import Conversation, Message
from streaming.actions import end_stream
from streaming.models import Chunk, Status, Stream

LONG_AGO = timezone.now() - timedelta(days=100)

pytestmark = pytest.mark.django_db(transaction=True)


def prune(*arguments: str) -> str:
    out = StringIO()
    call_command("pruneguests", *arguments, stdout=out)
    return out.getvalue()


def make_old(user: Any, **fields: Any) -> Any:
    """Let the last visit of `user` be 100 days ago."""
    get_user_model().objects.filter(pk=user.pk).update(last_login=LONG_AGO, **fields)
    Conversation.objects.filter(owner=user).update(last_message_at=LONG_AGO)
    return user


def chat_of(user: Any, *, ended: bool = True) -> Sent:
    sent = start_conversation(user, "Hello", key=uuid.uuid4())
    stream = sent.answer.stream
    assert stream
    Chunk.objects.create(stream=stream, start=0, text="Hi", epoch=1, created_at=LONG_AGO)
    Stream.objects.filter(pk=stream.pk).update(length=2)
    if ended:
        end_stream(stream.pk, Status.DONE, "stop")
    return sent


def test_an_old_guest_goes_with_everything(guest: Any, owner: Any) -> None:
    chat_of(guest)
    kept = chat_of(owner)
    make_old(guest)
    assert prune() == "1 guests were deleted.\n"
    assert list(get_user_model().objects.all()) == [owner]
    assert list(Conversation.objects.all()) == [kept.conversation]
    assert Message.objects.count() == 2
    assert list(Stream.objects.values_list("owner", flat=True)) == [owner.pk]
    assert Chunk.objects.count() == 1


def test_dry_run_counts_and_deletes_nothing(guest: Any) -> None:
    chat_of(guest)
    make_old(guest)
    assert prune("--dry-run") == "1 guests would be deleted.\n"
    assert get_user_model().objects.filter(pk=guest.pk).exists()
    assert Chunk.objects.count() == 1


def test_a_guest_who_never_came_back_after_being_created_is_old_by_that_day(guest: Any) -> None:
    get_user_model().objects.filter(pk=guest.pk).update(date_joined=LONG_AGO)
    prune()
    assert not get_user_model().objects.filter(pk=guest.pk).exists()


def test_a_guest_who_wrote_since_stays(guest: Any) -> None:
    chat_of(guest)
    get_user_model().objects.filter(pk=guest.pk).update(last_login=LONG_AGO)
    prune()
    assert get_user_model().objects.filter(pk=guest.pk).exists()


def test_a_guest_with_a_running_answer_stays(guest: Any) -> None:
    chat_of(guest, ended=False)
    make_old(guest)
    prune()
    assert get_user_model().objects.filter(pk=guest.pk).exists()


def test_accounts_and_staff_stay_however_old(guest: Any, owner: Any) -> None:
    make_old(owner)
    make_old(guest, is_staff=True)
    prune("--days", "1")
    assert get_user_model().objects.count() == 2


def test_days_say_how_old(guest: Any) -> None:
    make_old(guest)
    assert prune("--days", "101") == "0 guests were deleted.\n"
    assert prune("--days", "99") == "1 guests were deleted.\n"

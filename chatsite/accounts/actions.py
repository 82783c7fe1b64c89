"""What changes several rows of a person's data at once."""

from __future__ import annotations

import math
import time

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from conversations.own_keys import move_preferences
from conversations.purging import CHORE_SECONDS, purge
from streaming import actions as streams
from streaming.models import EndReason
from streaming.topics import gone

from .models import User


def delete_person(user: User, *, until: float = math.inf) -> None:
    """Delete a guest or an account with everything of theirs.

    First nobody can be them any more: the address is free, no session is theirs, running answers
    are stopped, chats hidden, sockets closed. After the commit of that the rows go in pages of a
    transaction each; when that is cut short, by the monotonic time `until` too, a chore goes on.
    """
    with transaction.atomic():
        # A bare row: the caller's instance still shows who it was.
        person = User.objects.select_for_update().filter(pk=user.pk).first()
        if person is None:
            return
        person.email = person.guest_key = None
        person.is_active = False
        person.set_unusable_password()
        person.deleted_at = Now()
        person.save(update_fields=["email", "guest_key", "is_active", "password", "deleted_at"])
        person.conversations.visible().update(deleted_at=Now())
        for stream in person.streams.open():
            streams.stop(stream, EndReason.DELETED)
        transaction.on_commit(lambda: gone(f"user:{person.pk}"), robust=True)
        transaction.on_commit(lambda: _remove(person, until))


def finish_deletions() -> None:
    """A server's chore: some of what is left of deleted persons."""
    until = time.monotonic() + CHORE_SECONDS
    for person in User.objects.filter(deleted_at__isnull=False).order_by("deleted_at"):
        if time.monotonic() > until:
            return
        _remove(person, until)


def forget_sessions(user: User) -> None:
    """Remove all sessions of a person; reads those of everybody, who is in one is not indexed."""
    for session in Session.objects.iterator():
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            session.delete()


def _remove(person: User, until: float) -> None:
    for pk in list(person.conversations.values_list("pk", flat=True)):
        if not purge(pk, until=until):
            return
    for stream in person.streams.all():
        if time.monotonic() > until:
            return
        streams.delete(stream)
    with transaction.atomic():
        # The lock: a message that was still on its way is either here to be deleted, or fails.
        User.objects.select_for_update().filter(pk=person.pk).first()
        person.delete()


def bring_chats_along(guest_pk: int, account: User) -> int:
    """Give the guest's chats, running answers included, to `account`; delete the guest.

    Returns how many visible chats came along: 0 when there is no such guest any more, also
    because it became an account itself.
    """
    with transaction.atomic():
        # The lock: a first message of the same guest, still in flight, either is stored before
        # and moves too, or fails because its owner is gone; it can never be deleted unseen.
        guests = User.objects.select_for_update()
        guest = guests.filter(pk=guest_pk, email__isnull=True, deleted_at__isnull=True).first()
        if guest is None:
            return 0
        count = guest.conversations.visible().count()
        guest.conversations.update(owner=account)
        guest.streams.update(owner=account)
        guest.submissions.update(user=account)
        guest.personas.update(owner=account)
        move_preferences(guest, account)
        User.objects.filter(pk=account.pk).update(version=F("version") + 1)
        guest.delete()
    return count

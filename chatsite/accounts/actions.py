"""What changes several rows of a person's data at once."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from streaming import actions as streams

from .models import User


def delete_person(user: User) -> None:
    """Delete a guest or an account with everything of theirs; a running answer is stopped first.

    Called outside of a transaction, long logs go in pages of one each, and when it is cut short,
    calling it again goes on.
    """
    for stream in list(user.streams.all()):
        streams.delete(stream)
    user.delete()


def bring_chats_along(guest_pk: int, account: User) -> int:
    """Give the guest's chats, running answers included, to `account`; delete the guest.

    Returns how many visible chats came along: 0 when there is no such guest any more, also
    because it became an account itself.
    """
    with transaction.atomic():
        # The lock: a first message of the same guest, still in flight, either is stored before
        # and moves too, or fails because its owner is gone; it can never be deleted unseen.
        guests = User.objects.select_for_update()
        guest = guests.filter(pk=guest_pk, email__isnull=True).first()
        if guest is None:
            return 0
        count = guest.conversations.visible().count()
        guest.conversations.update(owner=account)
        guest.streams.update(owner=account)
        guest.submissions.update(user=account)
        User.objects.filter(pk=account.pk).update(version=F("version") + 1)
        guest.delete()
    return count

"""`manage.py rotatekeys`: encrypt people's provider keys anew after a change of the site's."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from conversations.encryption import CannotDecrypt
from conversations.models import ProviderKey
from conversations.own_keys import seal_again


class Command(BaseCommand):
    help = (
        "Encrypts the provider keys that people stored anew, with the first of "
        "FIELD_ENCRYPTION_KEYS. Put a new key before the old one, restart all processes, run this, "
        "then take the old one away. It fails, having done the others, if any cannot be decrypted. "
        "It may be stopped and run again."
    )

    def handle(self, **options: Any) -> None:
        done, lost = 0, []
        for key in ProviderKey.objects.order_by("pk").iterator():
            try:
                done += seal_again(key)
            except CannotDecrypt:
                lost.append(key.pk)
        self.stdout.write(f"{done} keys were encrypted anew.")
        if lost:
            raise CommandError(f"No key of the site fits these rows: {', '.join(map(str, lost))}.")

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConversationsConfig(AppConfig):
    name = "conversations"
    verbose_name = _("Conversations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from streaming.housekeeping import chore
        from streaming.signals import runner_starting

        from . import purging, search_index, topics

        post_migrate.connect(search_index.ensure, sender=self)
        topics.register()
        chore(purging.purge_a_little)
        runner_starting.connect(load_transport)


def load_transport(**kwargs: Any) -> None:
    """Load what speaks to providers before the first answer: it takes half a second."""
    from .providers import transport  # noqa: F401

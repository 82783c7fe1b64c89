from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ConversationsConfig(AppConfig):
    name = "conversations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from streaming.housekeeping import chore
        from streaming.signals import runner_starting

        from . import purging, topics

        topics.register()
        chore(purging.purge_a_little)
        runner_starting.connect(load_transport)


def load_transport(**kwargs: Any) -> None:
    """Load what speaks to providers before the first answer: it takes half a second."""
    from .providers import transport  # noqa: F401

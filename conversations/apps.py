from __future__ import annotations

from django.apps import AppConfig


class ConversationsConfig(AppConfig):
    name = "conversations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from streaming.housekeeping import chore

        from . import purging, topics

        topics.register()
        chore(purging.purge_a_little)

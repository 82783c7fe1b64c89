from __future__ import annotations

from django.apps import AppConfig


class ChatsiteConfig(AppConfig):
    """The project itself as an app: the command `serve` and the checks of the settings."""

    name = "chatsite"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers the checks

"""System checks: a runner that cannot work here is reported with an id and what to do."""

from __future__ import annotations

from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.apps import apps
from django.core import checks
from django.db import connection

from .conf import conf


@checks.register()
def procrastinate(**kwargs: Any) -> list[checks.CheckMessage]:
    """What STREAMING_RUNNER=procrastinate needs is there."""
    if conf.RUNNER != "procrastinate":
        return []
    found: list[checks.CheckMessage] = []
    if connection.vendor != "postgresql":
        found.append(
            checks.Error(
                "STREAMING_RUNNER=procrastinate needs PostgreSQL: its jobs live there.",
                hint="Set DATABASE_URL to postgres://…, or STREAMING_RUNNER=embedded.",
                id="streaming.E001",
            )
        )
    if not apps.is_installed("procrastinate.contrib.django"):
        found.append(
            checks.Error(
                "STREAMING_RUNNER=procrastinate, but its app is not installed.",
                hint="Add 'procrastinate.contrib.django' to INSTALLED_APPS.",
                id="streaming.E002",
            )
        )
    layer = get_channel_layer()
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        found.append(
            checks.Warning(
                "No channel layer connects the workers with those who serve: text is seen by "
                "polling the database, four times a second.",
                hint="Set REDIS_URL, or CHANNEL_LAYERS to one that processes share.",
                id="streaming.W001",
            )
        )
    return found

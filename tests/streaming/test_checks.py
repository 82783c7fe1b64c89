from __future__ import annotations

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from streaming import checks


def found_ids() -> set[str | None]:
    return {message.id for message in checks.procrastinate()}


def test_the_queue_is_tied_to_what_it_needs(settings) -> None:
    settings.STREAMING_RUNNER = "procrastinate"
    needed = {"streaming.W001"}
    if connection.vendor != "postgresql":
        needed.add("streaming.E001")
    if not apps.is_installed("procrastinate.contrib.django"):
        needed.add("streaming.E002")
    assert found_ids() == needed
    assert all(message.hint for message in checks.procrastinate())


def test_a_shared_layer_is_enough_for_doorbells(settings) -> None:
    settings.STREAMING_RUNNER = "procrastinate"
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
        }
    }
    assert "streaming.W001" not in found_ids()


@pytest.mark.parametrize("runner", ["embedded", "off"])
def test_the_other_runners_need_nothing(settings, runner: str) -> None:
    settings.STREAMING_RUNNER = runner
    assert checks.procrastinate() == []


def test_an_unknown_runner_is_refused(settings) -> None:
    settings.STREAMING_RUNNER = "magic"
    with pytest.raises(ImproperlyConfigured, match="allowed are embedded, procrastinate, off"):
        apps.get_app_config("streaming").ready()

"""This app's settings: `STREAMING_<NAME>` in Django's settings, or the default here."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

RUNNERS = ("embedded", "procrastinate", "off")

DEFAULTS: dict[str, Any] = {
    # Who runs generators: "embedded" (the process that serves), "procrastinate" (workers that its
    # queue dispatches to) or "off" (others on the same database).
    "RUNNER": "embedded",
    # Generators that run at once in this process; further ones wait, fairly between owners. Twice
    # as many while it takes over what a dead process left.
    "MAX_CONCURRENT": 1_000,
    # One tick serves commit, rendering and push.
    "TICK_SECONDS": 0.05,
    # Text of one stream that may wait for its commit before its generator is suspended.
    "MAX_UNCOMMITTED_CHARS": 65_536,
    # A stream's text ends `done` with the reason `cap` here.
    "MAX_CHARS": 2_000_000,
    # A generator that yields nothing for so long is ended; before its first text it has longer.
    "FIRST_TEXT_SECONDS": 180.0,
    "IDLE_SECONDS": 60.0,
    "TOTAL_SECONDS": 1_800.0,
    # Heartbeat of running streams, and the query that notices a stop made by another process.
    "BEAT_SECONDS": 2.0,
    "CHECK_SECONDS": 0.5,
    # A stream whose (epoch, beat) was seen unchanged for so long, over rounds so far apart.
    "ABANDONED_SECONDS": 10.0,
    "SWEEP_SECONDS": 1.5,
    "MAX_ATTEMPTS": 3,
    # Running answers get so long to end at shutdown.
    "DRAIN_SECONDS": 30.0,
    # Polling that makes a lost doorbell a delay only: with a shared layer, and without one.
    "POLL_SECONDS": 1.5,
    "POLL_SECONDS_WITHOUT_LAYER": 0.25,
    # Live HTTP answers end here and are resumed by offset.
    "HTTP_LIVE_SECONDS": 60.0,
    "HTTP_LIVE_BYTES": 262_144,
    "LONG_POLL_SECONDS": 25.0,
    # Origins that may POST /chat-stream and read streams across origins.
    "CORS_ORIGINS": [],
    # The page's socket.
    "HEARTBEAT_SECONDS": 10.0,
    "ACCESS_SECONDS": 60.0,
    "UNACKED_BYTES": 65_536,
    # With a heartbeat's time on top it is the minute after which a dead page costs nothing.
    "UNACKED_SECONDS": 45.0,
    "MAX_FOLLOWS": 100,
    "MAX_SOCKETS_PER_USER": 50,
}


class Conf:
    """Reads each setting once, when it is first asked for; tests that override one are heard."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(settings, f"STREAMING_{name}", DEFAULTS[name])
        # The next access finds it here without a call: some are asked for by each token.
        self.__dict__[name] = value
        return value


conf = Conf()


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: Any) -> None:
    conf.__dict__.pop(setting.removeprefix("STREAMING_"), None)

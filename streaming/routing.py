from __future__ import annotations

from django.urls import path

from .consumers import StreamConsumer

websocket_urlpatterns = [path("ws/streaming/", StreamConsumer.as_asgi())]

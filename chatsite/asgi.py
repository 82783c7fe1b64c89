"""The ASGI entry point: HTTP to Django, the page's WebSocket to `streaming`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

import django
from channels.routing import ProtocolTypeRouter, URLRouter

django.setup(set_prefix=False)

from chatsite.handlers import OneThreadHandler, with_static_files
from conversations import providers
from streaming.routing import websocket_urlpatterns
from streaming.security import SameOrigin
from streaming.supervisor import with_supervisor

providers.refresh_in_background()
application = with_supervisor(
    ProtocolTypeRouter(
        {
            "http": with_static_files(OneThreadHandler()),
            "websocket": SameOrigin(URLRouter(websocket_urlpatterns)),
        }
    )
)

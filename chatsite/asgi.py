"""The ASGI entry point: HTTP to Django, the page's WebSocket to `streaming`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

django.setup(set_prefix=False)

from chatsite.handlers import OneThreadHandler, with_static_files
from chatsite.health import with_health
from conversations import providers
from streaming.routing import websocket_urlpatterns
from streaming.security import SameOrigin
from streaming.supervisor import with_supervisor


async def no_such_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """What any other path gets; without it the router raises, and Daphne answers 500."""
    await receive()
    await send({"type": "websocket.close", "code": 4404})


sockets = URLRouter([*websocket_urlpatterns, re_path("", no_such_socket)])  # type: ignore[arg-type]
providers.refresh_in_background()
application = with_supervisor(
    ProtocolTypeRouter(
        {
            "http": with_health(with_static_files(OneThreadHandler())),
            "websocket": SameOrigin(sockets),
        }
    )
)

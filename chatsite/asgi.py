"""The ASGI entry point: HTTP to Django, the page's WebSocket to `streaming`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from conversations import providers
from streaming.routing import websocket_urlpatterns
from streaming.security import SameOrigin
from streaming.supervisor import with_supervisor

providers.refresh_in_background()
application = with_supervisor(
    ProtocolTypeRouter(
        {
            "http": django_application,
            "websocket": SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        }
    )
)

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tinyproject.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from streaming.routing import websocket_urlpatterns  # noqa: E402
from streaming.security import SameOrigin  # noqa: E402
from streaming.supervisor import with_supervisor  # noqa: E402

application = with_supervisor(
    ProtocolTypeRouter(
        {
            "http": django_application,
            "websocket": SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        }
    )
)

"""What a browser needs to know to install the site as an app."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.templatetags.static import static
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

PNG = "image/png"
# Of base.html's theme-color in light; an app that opens has no other before its first page.
PAGE_COLOUR = "#fcfcfb"


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    """The web app manifest (W3C, Web Application Manifest); a view, for its icons' hashed names."""
    icons = (
        ("icons/favicon.svg", "any", "image/svg+xml", "any"),
        ("icons/icon-192.png", "192x192", PNG, "any"),
        ("icons/icon-512.png", "512x512", PNG, "any"),
        ("icons/icon-maskable-512.png", "512x512", PNG, "maskable"),
    )
    return JsonResponse(
        {
            "id": "/",
            "name": "chatsite",
            "description": _("An AI chat whose answers are never lost."),
            "lang": get_language(),
            "start_url": "/",
            "scope": "/",
            "display": "standalone",
            "theme_color": PAGE_COLOUR,
            "background_color": PAGE_COLOUR,
            "icons": [
                {"src": static(file), "sizes": sizes, "type": kind, "purpose": purpose}
                for file, sizes, kind, purpose in icons
            ],
        },
        content_type="application/manifest+json",
    )

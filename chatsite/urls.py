from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView
from django.views.i18n import set_language

from .manifest import manifest

handler500 = "chatsite.errors.server_error"

urlpatterns = [
    # One way to sign in and one to change a password, throttled: never the admin's own forms.
    path("admin/login/", RedirectView.as_view(pattern_name="accounts:sign-in", query_string=True)),
    path(
        "admin/password_change/",
        RedirectView.as_view(pattern_name="accounts:password-change"),
    ),
    # Asked for by browsers on pages that name no icon. Lazy: its name is known after collectstatic.
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("icons/favicon.svg"))),
    path("manifest.webmanifest", manifest, name="manifest"),
    path("language/", set_language, name="set-language"),
    path("admin/", admin.site.urls),
    path("accounts/", include("chatsite.accounts.urls")),
    path("", include("streaming.urls")),
    path("", include("conversations.urls")),
]

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    # One way to sign in and one to change a password, throttled: never the admin's own forms.
    path("admin/login/", RedirectView.as_view(pattern_name="accounts:sign-in", query_string=True)),
    path(
        "admin/password_change/",
        RedirectView.as_view(pattern_name="accounts:password-change"),
    ),
    path("admin/", admin.site.urls),
    path("accounts/", include("chatsite.accounts.urls")),
    path("", include("streaming.urls")),
    path("", include("conversations.urls")),
]

from __future__ import annotations

from django.contrib.auth import views as auth_views
from django.urls import path
from django.views.generic import TemplateView

from . import views

app_name = "accounts"

urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-in/guest/", views.sign_in_as_guest, name="sign-in-guest"),
    path("sign-up/", views.SignUp.as_view(), name="sign-up"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("bring-chats-along/", views.bring_chats_along_page, name="bring-chats-along"),
    path("theme/", views.theme, name="theme"),
    path("delete/", views.AccountDelete.as_view(), name="account-delete"),
    path(
        "deleted/",
        TemplateView.as_view(template_name="accounts/account_deleted.html"),
        name="account-deleted",
    ),
    path("password/", views.PasswordChange.as_view(), name="password-change"),
    path(
        "password/done/",
        auth_views.PasswordChangeDoneView.as_view(template_name="accounts/password_done.html"),
        name="password-change-done",
    ),
    path("password/reset/", views.PasswordReset.as_view(), name="password-reset"),
    path(
        "password/reset/sent/",
        auth_views.PasswordResetDoneView.as_view(template_name="accounts/password_reset_sent.html"),
        name="password-reset-done",
    ),
    path(
        "password/reset/complete/",
        auth_views.PasswordResetCompleteView.as_view(template_name="accounts/password_done.html"),
        name="password-reset-complete",
    ),
    path(
        "password/reset/<uidb64>/<token>/",
        views.PasswordResetConfirm.as_view(),
        name="password-reset-confirm",
    ),
]

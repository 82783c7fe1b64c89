"""Signing in, out and up; Django's own views where they fit."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.db import IntegrityError, transaction
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from django.views.generic import FormView

from conversations.purging import CHORE_SECONDS

from . import forms
from .actions import bring_chats_along, delete_person, forget_sessions
from .guests import keep_cookie, keep_looks, renew_guest_cookie, sign_in_guest
from .models import Theme, User
from .throttles import WINDOW_SECONDS, Throttle

# In the session after sign-in: whose chats the new session's account is offered, and where to
# go after the answer.
OFFER = "chats_to_bring_along"


class FormPage:
    """An invalid form comes back as it was typed, with 422, or 429 after too many attempts."""

    def form_invalid(self, form: BaseForm) -> HttpResponse:
        errors = [error for field in form.errors.as_data().values() for error in field]
        throttled = any(error.code == "throttled" for error in errors)
        context = self.get_context_data(form=form)  # type: ignore[attr-defined]
        response = self.render_to_response(  # type: ignore[attr-defined]
            context, status=429 if throttled else 422
        )
        if throttled:
            response.headers["Retry-After"] = str(WINDOW_SECONDS)
        return response


class SignIn(FormPage, auth_views.LoginView):
    """Email and password; a guest with chats is then asked whether to bring them along."""

    authentication_form = forms.SignInForm
    template_name = "accounts/sign_in.html"

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        guest = guest_of(self.request)
        login(self.request, form.get_user())
        if guest is None or not count_chats(guest):
            return redirect(self.get_success_url())
        # Left behind, the chats must not open to the browser's next visitor.
        guest.forget_guest_cookie()
        self.request.session[OFFER] = {"guest": guest.pk, "next": self.get_success_url()}
        return redirect("accounts:bring-chats-along")


@method_decorator([sensitive_post_parameters(), never_cache], name="dispatch")
class SignUp(FormPage, auth_views.RedirectURLMixin, FormView):
    """A new account; for a guest the same row, with everything that belongs to it."""

    form_class = forms.SignUpForm
    template_name = "accounts/sign_up.html"
    next_page = settings.LOGIN_REDIRECT_URL

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated and not request.user.is_guest:
            return redirect(self.get_success_url())
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        chats = count_chats(guest_of(self.request))
        return super().get_context_data(next=self.get_redirect_url(), chats=chats, **kwargs)

    def form_valid(self, form: forms.SignUpForm) -> HttpResponse:
        try:
            user = self.account_of(form)
        except IntegrityError:  # somebody took the address since the form looked
            form.add_error("email", forms.EMAIL_TAKEN)
            return self.form_invalid(form)
        if user is not None:
            # A new session key and CSRF token; the guest's other sessions end with the password.
            login(self.request, user)
            keep_looks(self.request, user)
        response = redirect(self.get_success_url())
        renew_guest_cookie(response)
        return response

    def account_of(self, form: forms.SignUpForm) -> User | None:
        """The new account; None when another request made this guest one just before."""
        guest = guest_of(self.request)
        if guest is None:
            with transaction.atomic():
                return form.save()
        email, password = form.cleaned_data["email"], form.cleaned_data["password1"]
        return guest if guest.become_account(email, password) else None


@never_cache
@require_POST
def sign_in_as_guest(request: HttpRequest) -> HttpResponse:
    """The button 'Sign in anonymously'."""
    sign_in_guest(request)
    return redirect(next_url(request))


@never_cache
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep a visitor's theme in this browser; Django's `set_language` does so with the language."""
    response = redirect(next_url(request))
    chosen = request.POST.get("theme")
    if chosen in Theme.values:
        keep_cookie(response, settings.THEME_COOKIE_NAME, chosen)
    else:
        response.delete_cookie(settings.THEME_COOKIE_NAME)
    return response


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out by POST; a guest with chats first reads what is lost and confirms it."""
    if not request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    chats = count_chats(guest_of(request))
    if request.method != "POST" or (chats and "confirmed" not in request.POST):
        return render(request, "accounts/sign_out.html", {"chats": chats})
    request.user.forget_guest_cookie()
    logout(request)
    response = redirect(settings.LOGIN_REDIRECT_URL)
    renew_guest_cookie(response)
    return response


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def bring_chats_along_page(request: HttpRequest) -> HttpResponse:
    """Offer the account the chats of the guest that this session was; one answer is taken."""
    offer = request.session.get(OFFER)
    if offer is None or not request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    guest = User.objects.filter(pk=offer["guest"], email__isnull=True).first()
    answer = request.POST.get("answer")
    if guest is not None and answer not in ("yes", "no"):
        context = {"chats": count_chats(guest)}
        status = 422 if request.method == "POST" else 200
        return render(request, "accounts/bring_chats_along.html", context, status=status)
    del request.session[OFFER]
    if answer == "no":  # `next` may be a chat that was left behind
        return redirect(settings.LOGIN_REDIRECT_URL)
    if answer == "yes":
        bring_chats_along(offer["guest"], request.user)
    return redirect(offer["next"])


@method_decorator(never_cache, name="dispatch")
class PasswordChange(FormPage, auth_views.PasswordChangeView):
    form_class = forms.PasswordChangeForm
    template_name = "accounts/password_change.html"
    success_url = reverse_lazy("accounts:password-change-done")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if guest_of(request):
            return redirect("accounts:sign-up")
        return super().dispatch(request, *args, **kwargs)


@method_decorator([sensitive_post_parameters(), never_cache, login_required], name="dispatch")
class AccountDelete(FormPage, FormView):
    """Everything of a person goes, once they confirmed it; what is large by a chore, afterwards."""

    form_class = forms.AccountDeleteForm
    template_name = "accounts/account_delete.html"

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.request.user}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return context | {"chats": count_chats(context["form"].user)}

    def form_valid(self, form: forms.AccountDeleteForm) -> HttpResponse:
        delete_person(form.user, until=time.monotonic() + CHORE_SECONDS)
        forget_sessions(form.user)
        logout(self.request)
        response = redirect("accounts:account-deleted")
        renew_guest_cookie(response)
        # Drafts that the browser keeps.
        response.headers["Clear-Site-Data"] = '"storage"'
        return response


@method_decorator(never_cache, name="dispatch")
class PasswordReset(FormPage, auth_views.PasswordResetView):
    form_class = forms.PasswordResetForm
    template_name = "accounts/password_reset.html"
    email_template_name = "accounts/password_reset_email.txt"
    subject_template_name = "accounts/password_reset_subject.txt"
    success_url = reverse_lazy("accounts:password-reset-done")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}


class PasswordResetConfirm(FormPage, auth_views.PasswordResetConfirmView):
    form_class = forms.SetPasswordForm
    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("accounts:password-reset-complete")

    def form_valid(self, form: SetPasswordForm[User]) -> HttpResponse:
        # Who reads the mail gets in, although somebody else used the attempts up.
        Throttle("sign-in", None, form.user.email).forgive()
        return super().form_valid(form)


def guest_of(request: HttpRequest) -> User | None:
    """The guest who is signed in; None for visitors and accounts."""
    user = request.user
    return user if user.is_authenticated and user.is_guest else None


def count_chats(user: User | None) -> int:
    """How many chats the person would lose; 0 without one."""
    return user.conversations.visible().count() if user else 0


def next_url(request: HttpRequest) -> str:
    """Where the form's `next` points, if that is a page of this site; else the start."""
    url = request.POST.get("next", "")
    hosts = {request.get_host()}
    if url_has_allowed_host_and_scheme(url, hosts, require_https=request.is_secure()):
        return url
    return resolve_url(settings.LOGIN_REDIRECT_URL)

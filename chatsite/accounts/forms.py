"""The forms of signing in, up and back in; Django's own, by email address and throttled."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import forms as auth_forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .models import User
from .throttles import Throttle

EMAIL_TAKEN = _("An account with this email address already exists.")
PASSWORD_HINT = _("At least 8 characters, not only digits, and not a common password.")
REPEAT = _("Repeat the password")


class EmailField(forms.EmailField):
    """An address in the one spelling in which accounts store it."""

    def __init__(self, *, autocomplete: str = "email", **kwargs: Any) -> None:
        attrs = {"autocomplete": autocomplete, "autocapitalize": "none", "autofocus": True}
        super().__init__(label=_("Email"), widget=forms.EmailInput(attrs=attrs), **kwargs)

    def to_python(self, value: Any) -> Any:
        return User.objects.normalize_email(super().to_python(value)) or ""


class SignInForm(auth_forms.AuthenticationForm):
    """Email and password; the answer is the same whether or not the account exists."""

    username = EmailField(autocomplete="username")

    error_messages = {
        **auth_forms.AuthenticationForm.error_messages,
        "invalid_login": _("Wrong email address or password."),
    }

    def clean(self) -> dict[str, Any]:
        email = self.cleaned_data.get("username")
        if not email or not self.cleaned_data.get("password"):
            return self.cleaned_data
        throttle = Throttle("sign-in", self.request, email)
        throttle.attempt()
        cleaned = super().clean()
        throttle.forgive()
        return cleaned


class NewPasswordMixin:
    """A new password, twice: one short hint, and its faults beside the field where it is chosen."""

    password_fields = ("new_password1", "new_password2")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first, second = (self.fields[name] for name in self.password_fields)  # type: ignore[attr-defined]
        first.help_text = PASSWORD_HINT
        second.label, second.help_text = REPEAT, ""

    def validate_password_for_user(self, user: User, *args: str, **kwargs: str) -> None:
        super().validate_password_for_user(user, self.password_fields[0])  # type: ignore[misc]


class SignUpForm(NewPasswordMixin, auth_forms.BaseUserCreationForm):
    """Email and password of a new account; also of a guest who becomes one.

    It says when an address is taken. Hiding that would need a confirmation mail in between, and
    this site works without a mail server; the throttle makes trying out a list of addresses slow.
    """

    password_fields = ("password1", "password2")
    email = EmailField()

    class Meta:
        model = User
        fields = ["email"]

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_email(self) -> str:
        email = self.cleaned_data["email"]
        if User.objects.with_email(email).exists():
            Throttle("sign-up", self.request).attempt()
            raise ValidationError(EMAIL_TAKEN, code="taken")
        return email


class PasswordChangeForm(NewPasswordMixin, auth_forms.PasswordChangeForm):
    """The old password, throttled: a borrowed session must not be a way to guess it."""

    def clean_old_password(self) -> str:
        throttle = Throttle("password-change", None, self.user.email)
        throttle.attempt()
        password = super().clean_old_password()
        throttle.forgive()
        return password


class AccountDeleteForm(forms.Form):
    """Confirms that a person goes: an account by its password, throttled as above."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        if user.is_guest:
            del self.fields["password"]

    def clean_password(self) -> str:
        throttle = Throttle("password-change", None, self.user.email)
        throttle.attempt()
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise ValidationError(_("Wrong password."), code="wrong")
        throttle.forgive()
        return password


class SetPasswordForm(NewPasswordMixin, auth_forms.SetPasswordForm):
    """A new password for who followed the link in the mail."""


class PasswordResetForm(auth_forms.PasswordResetForm):
    """Asks for a mail; counts and answers alike whether or not the account exists."""

    email = EmailField()

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean(self) -> dict[str, Any]:
        if email := self.cleaned_data.get("email"):
            Throttle("password-reset", self.request, email).attempt()
        return self.cleaned_data

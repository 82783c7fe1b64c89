from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create an account that signs in with `email` and `password`.

        Raises ValueError when `email` is empty.
        """
        if not email:
            raise ValueError("An account needs an email address.")
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        fields |= {"is_staff": True, "is_superuser": True}
        return self.create_user(email, password, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractUser):
    """A person: a guest (no email, no password) or, after sign-up on the same row, an account."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(_("email address"), null=True, blank=True)  # noqa: DJ001
    # The random cookie of the browser that became this guest: parallel first posts meet here.
    guest_key = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, unique=True, editable=False
    )
    # Raised in each action's transaction; open pages compare it to know that their sidebar is old.
    version = models.PositiveBigIntegerField(default=0, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []

    objects = UserManager()  # type: ignore[misc,assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_unique",
                violation_error_message=_("An account with this email address already exists."),
            ),
            models.CheckConstraint(condition=~Q(email=""), name="user_email_not_empty"),
        ]
        indexes = [
            # pruneguests: guests by their last visit.
            models.Index(
                fields=["last_login"], condition=Q(email__isnull=True), name="user_guest_last_login"
            ),
        ]

    def __str__(self) -> str:
        return self.email or f"Guest {self.pk}"

    @property
    def is_guest(self) -> bool:
        return self.email is None

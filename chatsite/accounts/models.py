from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class UserManager(BaseUserManager["User"]):
    @classmethod
    def normalize_email(cls, email: str | None) -> str | None:  # type: ignore[override]
        """Return the one spelling in which an address is stored; None when there is none.

        Case is dropped in the local part too: no provider of note tells `Ann@` from `ann@`.
        """
        return (email or "").strip().lower() or None

    def with_email(self, email: str | None) -> models.QuerySet[User]:
        """The account of this address, if there is one (at most one row)."""
        # Lower() is the expression of the unique index, so that PostgreSQL reads it.
        wanted = self.normalize_email(email)
        return self.alias(address=Lower("email")).filter(email__isnull=False, address=wanted or "")

    def get_by_natural_key(self, username: str | None) -> User:
        return self.with_email(username).get()

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create an account that signs in with `email` and `password`.

        Raises ValueError when `email` is empty, ValidationError when an account has it.
        """
        address = self.normalize_email(email)
        if not address:
            raise ValueError("An account needs an email address.")
        user = self.model(email=address, **fields)
        user.set_password(password)
        # `createsuperuser` looks only at `unique=True`; so it gets a sentence all the same.
        user.validate_constraints()
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create an account that may do everything in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def guest_of(self, guest_key: str | None) -> User:
        """Return the guest of `guest_key`, created at the first call; without a key a new one.

        The unique key decides between parallel first posts: the losers read the winner's row.
        """
        password = make_password(None)
        if guest_key is None:
            return self.create(password=password)
        return self.get_or_create(guest_key=guest_key, defaults={"password": password})[0]


class Theme(models.TextChoices):
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


class User(AbstractUser):
    """A person: a guest (no email, no password) or, after sign-up on the same row, an account."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(  # type: ignore[assignment]  # noqa: DJ001
        _("email address"), null=True, blank=True
    )
    # SHA-256 of the guest cookie of the browser that became this guest: parallel first posts meet
    # here. An account has none, so that the cookie never signs in to what has a password.
    guest_key = models.CharField(max_length=64, null=True, blank=True, unique=True, editable=False)
    # Raised in each action's transaction; open pages compare it to know that their sidebar is old.
    version = models.PositiveBigIntegerField(default=0, editable=False)

    # How pages look and which language they speak; empty: as the browser has it.
    theme = models.CharField(max_length=5, choices=Theme.choices, blank=True)
    language = models.CharField(max_length=10, blank=True)

    # Since then nobody is this person; what is theirs is removed in pages, this row last.
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

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
            models.CheckConstraint(
                condition=Q(email__isnull=True) | Q(guest_key__isnull=True),
                name="user_guest_key_only_for_guests",
            ),
        ]
        indexes = [
            # pruneguests: guests by their last visit.
            models.Index(
                fields=["last_login"], condition=Q(email__isnull=True), name="user_guest_last_login"
            ),
            # Whose deletion is not finished yet, oldest first.
            models.Index(
                fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="user_deleted"
            ),
        ]

    def __str__(self) -> str:
        return self.email or gettext("Guest %(number)s") % {"number": self.pk}

    @property
    def is_guest(self) -> bool:
        """Whether this person signed in anonymously."""
        return self.email is None

    def clean(self) -> None:
        super().clean()
        if self.email:
            self.guest_key = None

    def become_account(self, email: str, password: str) -> bool:
        """Make this guest an account on the same row; chats and running answers are not touched.

        Returns False when the row is no guest any more: two upgrades may both try, the update
        decides. Raises IntegrityError when another account has `email`.
        """
        with transaction.atomic():
            changed = User.objects.filter(pk=self.pk, email__isnull=True).update(
                email=User.objects.normalize_email(email),
                password=make_password(password),
                guest_key=None,
                version=F("version") + 1,
            )
        self.refresh_from_db()
        return changed == 1

    def forget_guest_cookie(self) -> None:
        """From now on no cookie signs in to this guest; sessions go on."""
        User.objects.filter(pk=self.pk).update(guest_key=None)

"""System checks: doubtful settings are reported with an id and what to do."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.conf import settings
from django.core import checks

MAKE_A_KEY = "Make one with: head -c 32 /dev/urandom | base64"


@checks.register(checks.Tags.security)
def field_encryption_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    """Each of FIELD_ENCRYPTION_KEYS is 32 bytes in base64."""
    return [
        checks.Error(
            f"FIELD_ENCRYPTION_KEYS: key number {number} is not 32 bytes in base64.",
            hint=MAKE_A_KEY,
            id="chatsite.E001",
        )
        for number, key in enumerate(settings.FIELD_ENCRYPTION_KEYS, start=1)
        if not is_key(key)
    ]


@checks.register(checks.Tags.security, deploy=True)
def field_encryption_key_is_set(**kwargs: Any) -> list[checks.CheckMessage]:
    """A production site can encrypt what users entrust to it."""
    if settings.FIELD_ENCRYPTION_KEYS:
        return []
    return [
        checks.Warning(
            "FIELD_ENCRYPTION_KEYS is empty: users cannot store provider keys of their own.",
            hint=MAKE_A_KEY,
            id="chatsite.W001",
        )
    ]


@checks.register()
def own_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    """OWN_KEYS names providers, and what people add can be encrypted."""
    found: list[checks.CheckMessage] = []
    if unknown := set(settings.OWN_KEYS) - {"openai", "anthropic"}:
        message = f"OWN_KEYS: {', '.join(sorted(unknown))} is no provider."
        hint = "Allowed are openai, anthropic, both with a comma between, or off."
        found.append(checks.Error(message, hint=hint, id="chatsite.E002"))
    if settings.OWN_KEYS and not settings.FIELD_ENCRYPTION_KEYS:
        message = "OWN_KEYS is set, but without FIELD_ENCRYPTION_KEYS no key can be stored."
        found.append(checks.Error(message, hint=MAKE_A_KEY, id="chatsite.E003"))
    return found


@checks.register()
def default_model(**kwargs: Any) -> list[checks.CheckMessage]:
    """DEFAULT_MODEL reads `<provider>:<name>`."""
    provider, _, name = settings.DEFAULT_MODEL.partition(":")
    if not settings.DEFAULT_MODEL or (provider and name):
        return []
    return [
        checks.Warning(
            f"DEFAULT_MODEL={settings.DEFAULT_MODEL!r} does not read <provider>:<name>.",
            hint="For example: openai:gpt-4o-mini, anthropic:claude-sonnet-4-5, echo:echo",
            id="chatsite.W002",
        )
    ]


def is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except binascii.Error:
        return False

"""What people entrust to the site: AES-GCM, bound to where it belongs."""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

NONCE_BYTES = 12


class CannotDecrypt(Exception):
    """None of FIELD_ENCRYPTION_KEYS fits, or the text belongs elsewhere."""


def encrypt(text: str, *, bound_to: str) -> str:
    """`text` under the first of FIELD_ENCRYPTION_KEYS, in base64; of no use without `bound_to`."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = _ciphers()[0].encrypt(nonce, text.encode(), bound_to.encode())
    return base64.b64encode(nonce + sealed).decode()


def decrypt(ciphertext: str, *, bound_to: str) -> str:
    """The text again, under whichever key it was encrypted. Raises CannotDecrypt."""
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
    except binascii.Error:
        raise CannotDecrypt from None
    for cipher in _ciphers():
        try:
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return cipher.decrypt(nonce, rest, bound_to.encode()).decode()
        except (InvalidTag, ValueError):
            continue
    raise CannotDecrypt


def _ciphers() -> list[AESGCM]:
    return [AESGCM(base64.b64decode(key)) for key in settings.FIELD_ENCRYPTION_KEYS]

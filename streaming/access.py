"""Who may read, stop and start a stream: the generator's hooks, and signed tokens for clients."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, TimestampSigner

from .exceptions import UnknownGenerator
from .generators import get_generator
from .models import Stream

TOKEN_SECONDS = 3_600

_signer = TimestampSigner(salt="streaming.access")


def may_read(user: Any, stream: Stream) -> bool:
    """Whether `user` (maybe anonymous) may read and start the stream; may query."""
    try:
        return get_generator(stream.generator).may_read(user, stream)
    except UnknownGenerator:
        return False


def may_stop(user: Any, stream: Stream) -> bool:
    """Whether `user` (maybe anonymous) may stop the stream; may query."""
    try:
        return get_generator(stream.generator).may_stop(user, stream)
    except UnknownGenerator:
        return False


def access_token(stream: Stream, user: Any) -> str:
    """A signed text by which one client may start and read one stream as `user` for one hour.

    It grants nothing that the access hooks refuse, and never a stop.
    """
    return _signer.sign_object([stream.pk.hex, str(user.pk)])


def user_of_token(token: str, stream_id: UUID) -> Any | None:
    """The active user whose token this is; None when it is not valid for this stream now."""
    try:
        stream_hex, user_pk = _signer.unsign_object(token, max_age=TOKEN_SECONDS)
    except (BadSignature, ValueError):
        return None
    if stream_hex != stream_id.hex:
        return None
    try:
        return get_user_model()._default_manager.filter(pk=user_pk, is_active=True).first()
    except (ValueError, ValidationError):
        # The project's user model has changed its keys since.
        return None

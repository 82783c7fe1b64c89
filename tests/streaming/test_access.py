from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core import signing

from streaming import access, actions, generators
from streaming.models import Stream

from .rows import write_nothing


@pytest.fixture
def stream(owner: Any) -> Iterator[Stream]:
    generators.generator(
        "tests.access", may_read=generators.owner_only, may_stop=generators.owner_only
    )(write_nothing)
    yield actions.create("tests.access", owner=owner)
    generators._registry.pop("tests.access", None)


def test_the_generators_hooks_decide(owner: Any, stranger: Any, stream: Stream) -> None:
    assert access.may_read(owner, stream)
    assert access.may_stop(owner, stream)
    for other in (stranger, AnonymousUser()):
        assert not access.may_read(other, stream)
        assert not access.may_stop(other, stream)


def test_without_hooks_nobody_may(owner: Any, stream: Stream) -> None:
    generators.generator("tests.access")(write_nothing)
    assert not access.may_read(owner, stream)
    assert not access.may_stop(owner, stream)


def test_a_generator_that_is_gone_lets_nobody_in(owner: Any, stream: Stream) -> None:
    generators._registry.pop("tests.access")
    assert not access.may_read(owner, stream)
    assert not access.may_stop(owner, stream)


def test_a_token_names_its_user_for_its_stream_alone(
    owner: Any, stranger: Any, stream: Stream
) -> None:
    token = access.access_token(stream, owner)
    assert access.user_of_token(token, stream.pk) == owner
    assert access.user_of_token(token, uuid4()) is None
    assert access.user_of_token(access.access_token(stream, stranger), stream.pk) == stranger


def test_a_changed_or_foreign_signature_is_nobodys(owner: Any, stream: Stream) -> None:
    token = access.access_token(stream, owner)
    other_salt = signing.TimestampSigner(salt="else").sign_object([stream.pk.hex, str(owner.pk)])
    for wrong in ("", "x", token[:-1], f"a{token}", f"é{token}", other_salt):
        assert access.user_of_token(wrong, stream.pk) is None


def test_a_token_lasts_an_hour(owner: Any, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(signing.time, "time", lambda: now)
    token = access.access_token(stream, owner)
    now += access.TOKEN_SECONDS - 1
    assert access.user_of_token(token, stream.pk) == owner
    now += 2
    assert access.user_of_token(token, stream.pk) is None


def test_a_token_ends_with_its_user(owner: Any, stream: Stream) -> None:
    token = access.access_token(stream, owner)
    owner.is_active = False
    owner.save(update_fields=["is_active"])
    assert access.user_of_token(token, stream.pk) is None

"""Rows of docs/contract.md that no other test of `streaming` holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.template import Context, Template
from django.test import AsyncClient, RequestFactory
from django.utils import timezone

from streaming import actions, generators
from streaming.hub import get_hub
from streaming.models import Chunk, Status, Stream
from tests.streaming.logs import stream_with


@pytest.mark.django_db
def test_two_chunks_never_stand_at_one_offset() -> None:
    stream = stream_with("first")
    with pytest.raises(IntegrityError), transaction.atomic():
        Chunk.objects.create(
            stream=stream, start=0, text="second", epoch=2, created_at=timezone.now()
        )


@pytest.mark.django_db
def test_an_empty_chunk_cannot_be_stored() -> None:
    stream = stream_with("first")
    with pytest.raises(IntegrityError), transaction.atomic():
        Chunk.objects.create(stream=stream, start=5, text="", epoch=1, created_at=timezone.now())


@pytest.fixture
def owners_stream(owner: Any) -> Iterator[Stream]:
    """A stream that its owner alone may read, and which waits for its start."""

    @generators.generator("tests.contract", may_read=generators.owner_only)
    async def nothing(stream: Stream, params: dict[str, Any], committed: str):  # type: ignore[no-untyped-def]
        return
        yield ""

    yield actions.create("tests.contract", owner=owner, autostart=False)
    generators._registry.pop("tests.contract")


@pytest.mark.django_db
def test_the_tag_draws_nothing_for_who_may_not_read(
    owners_stream: Stream, owner: Any, stranger: Any
) -> None:
    template = Template("{% load streaming %}{% stream stream %}")
    request = RequestFactory().get("/")

    def drawn_for(user: Any) -> str:
        request.user = user
        return template.render(Context({"request": request, "stream": owners_stream}))

    assert str(owners_stream.pk) in drawn_for(owner)
    assert drawn_for(stranger).strip() == ""


@pytest.mark.django_db(transaction=True)
async def test_the_demos_further_fields_change_nothing(owners_stream: Stream, owner: Any) -> None:
    client = AsyncClient()
    await client.aforce_login(owner)
    body = {
        "streamId": str(owners_stream.pk),
        "conversationId": "another",
        "userMessage": "ignored",
        "messages": [],
    }
    response = await client.post("/chat-stream", body, content_type="application/json")
    assert response.status_code == 200
    await owners_stream.arefresh_from_db()
    assert owners_stream.start_requested_at is not None
    assert owners_stream.status == Status.PENDING
    response.close()
    await get_hub().close()

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from conversations import actions, downloads
from conversations.models import Conversation, Message


def download(client, conversation: Conversation, kind: str):
    return client.get(url(conversation, kind))


def url(conversation: Conversation, kind: str) -> str:
    return reverse("conversations:conversation-download", args=[conversation.pk, kind])


def test_markdown_is_the_path_that_is_shown(client_of, owner, variants):
    Message.objects.update(created_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC), model="")
    response = download(client_of(owner), variants[0].conversation, "md")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert response.getvalue().decode() == (
        "# One\n\n## You · 2026-03-04 05:06 UTC\n\nOne\n\n"
        "## Answer · 2026-03-04 05:06 UTC\n\nThird\n"
    )


def test_json_is_the_whole_tree(client_of, owner, variants, monkeypatch):
    monkeypatch.setattr(downloads, "PAGE_MESSAGES", 2)
    actions.rate(variants[1], "good", "Clear")
    whole = json.loads(download(client_of(owner), variants[0].conversation, "json").getvalue())
    assert whole["leaf"] == variants[2].pk
    stored = Message.objects.order_by("pk")
    assert [
        (one["id"], one["parent"], one["role"], one["content"]) for one in whole["messages"]
    ] == list(stored.values_list("pk", "parent_id", "role", "content"))
    rated = next(one for one in whole["messages"] if one["id"] == variants[1].pk)
    assert (rated["rating"], rated["rating_word"], rated["status"]) == ("good", "Clear", "done")


@pytest.mark.parametrize("kind", ["md", "json"])
def test_an_answer_that_runs_gives_what_is_stored(client_of, owner, kind):
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    sent.answer.stream.chunks.create(start=0, text="So far", epoch=0, created_at=timezone.now())
    type(sent.answer.stream).objects.update(length=6)
    text = download(client_of(owner), sent.conversation, kind).getvalue().decode()
    assert "So far" in text


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Plain words", 'filename="Plain words.md"'),
        ("Grüße 東京", "filename*=utf-8''Gr%C3%BC%C3%9Fe%20%E6%9D%B1%E4%BA%AC.md"),
        ('../a\\b"\r\nX: y', 'filename="a b X y.md"'),
        ("///", 'filename="chat.md"'),
    ],
)
def test_the_file_is_named_after_the_title(client_of, owner, title, name):
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    Conversation.objects.update(title=title)
    response = download(client_of(owner), sent.conversation, "md")
    assert response.headers["Content-Disposition"] == f"attachment; {name}"


def test_nobody_else_gets_it_and_there_is_no_other_kind(client_of, owner, stranger, client):
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    assert download(client_of(stranger), sent.conversation, "md").status_code == 404
    assert download(client, sent.conversation, "json").status_code == 404
    assert download(client_of(owner), sent.conversation, "exe").status_code == 404
    assert client_of(owner).post(url(sent.conversation, "md")).status_code == 405


@pytest.mark.django_db(transaction=True)
async def test_a_server_sends_it_in_parts(owner, variants):
    client = AsyncClient()
    await client.aforce_login(owner)
    conversation = Conversation(pk=variants[0].conversation_id)
    response = await client.get(url(conversation, "json"))
    assert response.is_async
    parts = [part async for part in response]
    assert len(parts) > len(variants)
    assert len(json.loads(b"".join(parts))["messages"]) == 6

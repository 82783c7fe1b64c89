"""Rows of docs/contract.md that no other test of the chat holds."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.test import Client


@pytest.mark.django_db
def test_the_caption_of_the_demo_stands_under_the_composer(client: Client, settings: Any) -> None:
    settings.OPENAI_API_KEY, settings.OPENAI_MODELS = "key", ["gpt-4.1"]
    assert "AI can make mistakes. Please verify important information." in client.get("/").text


def test_no_table_of_the_chat_holds_a_key() -> None:
    fields = {
        field.name
        for app in ("streaming", "conversations", "accounts")
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.get_fields()
    }
    assert not {name for name in fields if "api_key" in name or "secret" in name}

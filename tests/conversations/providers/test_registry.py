"""What the site offers, by settings and by what servers say of themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from conversations import providers
from conversations.lab.provider import ProviderServer
from conversations.providers import local
from conversations.providers.base import ProviderError
from conversations.providers.echo import Echo


@pytest.fixture(autouse=True)
def nothing_configured(settings: Any) -> None:
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = settings.DEFAULT_MODEL = ""
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"
    settings.OPENAI_MODELS = settings.ANTHROPIC_MODELS = []
    settings.LOCAL_MODEL = "off"


def ids() -> list[str]:
    return [model.id for model in providers.models()]


def test_without_any_setting_echo_answers() -> None:
    assert ids() == ["echo:echo"]
    assert providers.default_model_id() == "echo:echo"
    provider, name = providers.provider_for("")
    assert isinstance(provider, Echo)
    assert name == "echo"


def test_named_models_are_offered_in_the_operators_order(settings: Any) -> None:
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = "k"
    settings.OPENAI_MODELS = ["gpt-5", "gpt-4"]
    settings.ANTHROPIC_MODELS = ["claude-x"]
    assert ids() == ["openai:gpt-5", "openai:gpt-4", "anthropic:claude-x", "echo:echo"]
    assert providers.default_model_id() == "openai:gpt-5"
    settings.DEFAULT_MODEL = "anthropic:claude-x"
    assert providers.default_model_id() == "anthropic:claude-x"
    settings.DEFAULT_MODEL = "anthropic:gone"
    assert providers.default_model_id() == "openai:gpt-5"


def test_a_server_of_ones_own_needs_no_key(settings: Any) -> None:
    settings.OPENAI_MODELS = ["llama3.2:3b"]
    assert ids() == ["echo:echo"]
    settings.OPENAI_BASE_URL = "http://127.0.0.1:11434/v1"
    provider, name = providers.provider_for("openai:llama3.2:3b")
    assert name == "llama3.2:3b"
    assert provider.carries_on is False
    settings.OPENAI_CARRIES_ON = True
    assert providers.provider_for("openai:llama3.2:3b")[0].carries_on is True


@pytest.mark.parametrize(
    "model_id", ["openai:gone", "openai:gpt-5", "nobody:x", "echo", "echo:other", "local:x", ":"]
)
def test_a_model_that_is_not_offered_is_refused(settings: Any, model_id: str) -> None:
    settings.ANTHROPIC_API_KEY = "k"
    settings.ANTHROPIC_MODELS = ["claude-x"]
    assert providers.choice(model_id) is None
    with pytest.raises(ProviderError) as refused:
        providers.provider_for(model_id)
    assert refused.value.code == "no_model"


@pytest.mark.parametrize(
    ("name", "context"),
    [("gpt-4o-mini", 128_000), ("gpt-4", 8_192), ("openai/gpt-4o", 128_000), ("mine", 4_096)],
)
def test_the_context_is_known_by_family_or_setting(settings: Any, name: str, context: int) -> None:
    settings.OPENAI_API_KEY = "k"
    settings.OPENAI_MODELS = [name]
    choice = providers.choice(f"openai:{name}")
    assert choice.context_tokens == context
    assert choice.answer_tokens <= context // 4
    settings.MODEL_CONTEXT_TOKENS = 2_000
    choice = providers.choice(f"openai:{name}")
    assert (choice.context_tokens, choice.answer_tokens) == (2_000, 500)


async def test_lists_come_from_the_servers(settings: Any, server: ProviderServer) -> None:
    settings.OPENAI_BASE_URL = server.openai_url
    settings.ANTHROPIC_BASE_URL = server.anthropic_url
    settings.ANTHROPIC_API_KEY = "k"
    server.models = [
        {"id": "b-instruct", "max_model_len": 9_000},
        {"id": "a", "display_name": "Model A"},
        {"id": "text-embedding-3"},
    ]
    assert providers.choice("openai:any") is not None, "not known yet, so it may exist"
    await providers.refresh()
    names = ["b-instruct", "a"]
    lists = [f"{kind}:{name}" for kind in ("openai", "anthropic") for name in names]
    assert ids() == [*lists, "echo:echo"]
    assert providers.choice("openai:b-instruct").context_tokens == 9_000
    assert providers.choice("openai:a").label == "Model A"
    assert providers.choice("openai:any") is None


@pytest.mark.parametrize("status", [302, 401, 500])
async def test_a_list_is_kept_when_its_server_fails(
    settings: Any, server: ProviderServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    settings.OPENAI_BASE_URL = server.openai_url
    await providers.refresh()
    server.models = [{"id": "new"}]
    await providers.refresh()
    assert ids() == ["openai:default", "echo:echo"], "fetched a moment ago"
    monkeypatch.setattr("conversations.providers.catalogue._fetch_at", {})
    server.models_status = status
    await providers.refresh()
    assert ids() == ["openai:default", "echo:echo"]
    monkeypatch.setattr("conversations.providers.catalogue._fetch_at", {})
    server.models_status = 200
    await providers.refresh()
    assert ids() == ["openai:new", "echo:echo"]


@pytest.mark.parametrize(
    "models", [[5], ["a"], [{"name": "a"}], [{"id": "a", "meta": {"n_ctx": "x"}}]]
)
async def test_a_strange_list_is_no_list(
    settings: Any, server: ProviderServer, models: list[Any]
) -> None:
    settings.OPENAI_BASE_URL = server.openai_url
    server.models = models
    await providers.refresh()
    assert providers.choice("openai:any") is not None
    assert ids()[-1] == "echo:echo"


async def test_a_server_process_keeps_the_lists_fresh(
    settings: Any, server: ProviderServer
) -> None:
    settings.OPENAI_BASE_URL = server.openai_url
    providers.refresh_in_background()
    async with asyncio.timeout(10):
        while "openai:default" not in ids():
            await asyncio.sleep(0.01)


def test_no_thread_runs_where_nothing_is_to_be_fetched(settings: Any) -> None:
    settings.OPENAI_API_KEY = "k"
    settings.OPENAI_MODELS = ["gpt-5"]
    before = threading.active_count()
    providers.refresh_in_background()
    assert threading.active_count() == before


def test_the_demo_model_is_offered_before_echo(settings: Any) -> None:
    settings.LOCAL_MODEL = "auto"
    expected = ["local:smollm2-135m"] if local.weights() else []
    assert ids() == [*expected, "echo:echo"]


def test_nobody_pays_for_the_client_before_it_is_used() -> None:
    code = (
        "import sys, django; from django.conf import settings; settings.configure();"
        "import conversations.providers; print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "conversations.providers.echo" in modules
    assert "aiohttp" not in modules
    assert "xllamacpp" not in modules

"""What the servers offer: models by setting or by the server's own list, and how much they take."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .base import ModelChoice, ProviderError

logger = logging.getLogger(__name__)

# Providers whose servers can tell what they offer.
LISTED = ("openai", "anthropic")
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
LIST_SECONDS = 600
LIST_AGAIN_SECONDS = 60
DEFAULT_CONTEXT_TOKENS = 4_096

# (prefix of a model's name, tokens of context, tokens of answer); the first that fits counts.
FAMILIES = (
    ("gpt-5", 272_000, 8_192),
    ("gpt-4.1", 1_000_000, 8_192),
    ("gpt-4o", 128_000, 8_192),
    ("chatgpt-4o", 128_000, 8_192),
    ("gpt-4-turbo", 128_000, 4_096),
    ("gpt-4", 8_192, 2_048),
    ("gpt-3.5", 16_385, 4_096),
    ("o1", 128_000, 8_192),
    ("o3", 200_000, 8_192),
    ("o4", 200_000, 8_192),
    ("claude-3-opus", 200_000, 4_096),
    ("claude-3-sonnet", 200_000, 4_096),
    ("claude-3-haiku", 200_000, 4_096),
    ("claude-", 200_000, 8_192),
    ("gemini-", 1_000_000, 8_192),
    ("deepseek-chat", 64_000, 8_192),
    ("deepseek-reasoner", 64_000, 8_192),
)
# Models that do not chat: on any server, and in OpenAI's own list.
_NOT_CHAT = re.compile(r"embed|rerank|whisper")
_NOT_CHAT_OPENAI = re.compile(
    r"embed|whisper|tts|dall-e|image|audio|realtime|transcribe|moderation|davinci|babbage|sora|"
    r"instruct|computer-use|search-api"
)

# Provider -> its list, as last fetched by this process; and when (monotonic) to fetch again.
_lists: dict[str, list[ModelChoice]] = {}
_fetch_at: dict[str, float] = {}


def is_configured(provider: str) -> bool:
    """Whether an operator has set up `provider` (openai or anthropic)."""
    if provider == "openai":
        # A server of one's own (Ollama, llama.cpp) needs no key.
        return bool(settings.OPENAI_API_KEY) or not _is_official()
    return bool(settings.ANTHROPIC_API_KEY)


def named(provider: str) -> list[str]:
    """The names that the operator lists."""
    return settings.OPENAI_MODELS if provider == "openai" else settings.ANTHROPIC_MODELS


def choices(provider: str) -> list[ModelChoice]:
    """The models of `provider`, best first; empty until its list is known."""
    if not is_configured(provider):
        return []
    if names := named(provider):
        return [choice_of(provider, name) for name in names]
    return _lists.get(provider, [])


def may_offer(provider: str) -> bool:
    """Whether `provider` is configured and its list not known yet, so that any name may exist."""
    return provider in LISTED and _wants_list(provider) and provider not in _lists


def choice_of(provider: str, name: str, *, label: str = "", context: int = 0) -> ModelChoice:
    """The choice of the model `name`; `context` is what the server says of it, 0 if nothing."""
    short = name.rpartition("/")[2]
    family = next((family for family in FAMILIES if short.startswith(family[0])), None)
    if not context:
        context = family[1] if family else DEFAULT_CONTEXT_TOKENS
    context = getattr(settings, "MODEL_CONTEXT_TOKENS", 0) or context
    answer = family[2] if family else 4_096
    return ModelChoice(
        id=f"{provider}:{name}",
        label=label or name,
        note=_note(provider),
        context_tokens=context,
        answer_tokens=min(answer, context // 4),
    )


def _note(provider: str) -> str | Promise:
    if provider == "anthropic":
        return "Anthropic"
    return "OpenAI" if _is_official() else _("own server")


def _is_official() -> bool:
    return settings.OPENAI_BASE_URL.rstrip("/") == OPENAI_URL


async def refresh() -> None:
    """Fetch the lists that are wanted and older than ten minutes; a failure keeps the old one."""
    for provider in LISTED:
        now = time.monotonic()
        if not _wants_list(provider) or now < _fetch_at.get(provider, now):
            continue
        # Set first: two pages that ask at once send one request.
        _fetch_at[provider] = now + LIST_AGAIN_SECONDS
        try:
            _lists[provider] = await _fetch(provider)
        except ProviderError as error:
            logger.warning("%s: no list of models: %s", provider, error.code)
        else:
            _fetch_at[provider] = now + LIST_SECONDS


def refresh_in_background() -> None:
    """Keep the lists fresh in a thread of its own; for the start of a server process.

    Starts nothing where the operator names the models, or has configured no server.
    """
    if any(map(_wants_list, LISTED)):
        threading.Thread(target=_keep_fresh, name="model-lists", daemon=True).start()


def _keep_fresh() -> None:
    while any(map(_wants_list, LISTED)):
        asyncio.run(refresh())
        time.sleep(LIST_AGAIN_SECONDS)


def _wants_list(provider: str) -> bool:
    return is_configured(provider) and not named(provider)


def forget() -> None:
    """Forget the fetched lists."""
    _lists.clear()
    _fetch_at.clear()


async def _fetch(provider: str) -> list[ModelChoice]:
    if provider == "anthropic":
        address, key = settings.ANTHROPIC_BASE_URL, settings.ANTHROPIC_API_KEY
    else:
        address, key = settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY
    return await fetch_list(provider, address, key)


async def fetch_list(
    provider: str, base_url: str, key: str, *, public_only: bool = False
) -> list[ModelChoice]:
    """What the server at `base_url` says it offers. Raises ProviderError."""
    from . import anthropic
    from .transport import fetch_json

    base_url = base_url.rstrip("/")
    if provider == "anthropic":
        url, headers = f"{base_url}/v1/models?limit=100", anthropic.headers(key)
    else:
        url, headers = f"{base_url}/models", {"Authorization": f"Bearer {key}"} if key else {}
    answer = await fetch_json(url, headers, public_only=public_only)
    return _choices_in(provider, answer, is_official=base_url == OPENAI_URL)


def _choices_in(provider: str, answer: Any, *, is_official: bool) -> list[ModelChoice]:
    """The choices in a server's answer: newest first where it says so, else in its order."""
    openai = provider == "openai" and is_official
    try:
        useless = _NOT_CHAT_OPENAI if openai else _NOT_CHAT
        items = [item for item in answer["data"] if not useless.search(_name(item))]
        if openai:
            items.sort(key=lambda item: item.get("created") or 0, reverse=True)
        return [
            choice_of(
                provider, _name(item), label=item.get("display_name") or "", context=_context(item)
            )
            for item in items
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProviderError(
            "provider", _("The provider's list of models cannot be read.")
        ) from error


def _name(item: dict[str, Any]) -> str:
    return str(item["id"])


def _context(item: dict[str, Any]) -> int:
    """Tokens of context as OpenRouter, vLLM or llama.cpp say them; 0 if none does."""
    said = item.get("context_length") or item.get("max_model_len")
    return int(said or (item.get("meta") or {}).get("n_ctx") or 0)

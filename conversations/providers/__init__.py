"""The registry: which models this site offers, and who answers for each."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from . import catalogue, local
from .base import ModelChoice, Provider, ProviderError
from .catalogue import refresh, refresh_in_background
from .echo import Echo

__all__ = [
    "ECHO",
    "choice",
    "default_model_id",
    "models",
    "provider_for",
    "refresh",
    "refresh_in_background",
]

ECHO = ModelChoice(
    id="echo:echo",
    label="Echo",
    note=_("not an AI: repeats what you write"),
    # It reads the newest message alone, however long.
    context_tokens=1_000_000,
)


def models() -> list[ModelChoice]:
    """The models a person may pick now, the site's preference first. Cheap: asks no server."""
    demo = [local.CHOICE] if local.is_available() else []
    return [*catalogue.choices("openai"), *catalogue.choices("anthropic"), *demo, ECHO]


def choice(model_id: str) -> ModelChoice | None:
    """The model `model_id`, None if this site does not offer it.

    While a server's list is not known yet, each of its names counts as offered: a conversation does
    not lose its model because the server was restarted.
    """
    found = next((model for model in models() if model.id == model_id), None)
    provider, _, name = model_id.partition(":")
    if found is None and name and catalogue.may_offer(provider):
        return catalogue.choice_of(provider, name)
    return found


def default_model_id() -> str:
    """The model of a conversation that names none: DEFAULT_MODEL if offered, else the first."""
    if settings.DEFAULT_MODEL and choice(settings.DEFAULT_MODEL):
        return settings.DEFAULT_MODEL
    return models()[0].id


def provider_for(model_id: str) -> tuple[Provider, str]:
    """Who answers for `model_id` (empty: the default), and the model's name there.

    Raises ProviderError with the code no_model.
    """
    found = choice(model_id or default_model_id())
    if found is None:
        raise ProviderError("no_model", _("This chat's model is no longer available."))
    kind, _colon, name = found.id.partition(":")
    if kind == "echo":
        return Echo(), name
    if kind == "local":
        return local.Local(), name
    if kind == "anthropic":
        from .anthropic import Anthropic

        key = settings.ANTHROPIC_API_KEY
        answer_tokens = found.answer_tokens
        return Anthropic(settings.ANTHROPIC_BASE_URL, key, answer_tokens=answer_tokens), name
    from .openai import OpenAI

    carries_on = getattr(settings, "OPENAI_CARRIES_ON", False)
    return OpenAI(settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY, carries_on=carries_on), name

"""What a person's chats use where a chat itself says nothing."""

from __future__ import annotations

from typing import Any

from . import own_keys, providers
from .models import Defaults
from .providers.base import ModelChoice


def defaults_of(user_id: Any) -> Defaults:
    """The defaults of a person; of one who has stored none, and of nobody, an empty row."""
    if user_id is None:
        return Defaults()
    return Defaults.objects.filter(pk=user_id).first() or Defaults(user_id=user_id)


def default_model_id(user: Any) -> str:
    """The model of a chat that names none: the person's if it is offered, else the site's."""
    model = defaults_of(user.pk).model
    return model if model and choice_of(user, model) else providers.default_model_id()


def models_of(user: Any) -> list[ModelChoice]:
    """The models that a person may pick: those of the site, and of keys of their own."""
    return [*providers.models(), *own_keys.choices_of(user.pk)]


def choice_of(user: Any, model_id: str) -> ModelChoice | None:
    """The model `model_id`, None if neither the site nor a key of the person's offers it."""
    if not own_keys.is_own(model_id):
        return providers.choice(model_id)
    own = own_keys.choices_of(user.pk)
    return next((choice for choice in own if choice.id == model_id), None)


def parameters_from(cleaned: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a form with fields for them; what was left empty is not there."""
    names = ("temperature", "max_tokens")
    return {name: cleaned[name] for name in names if cleaned[name] is not None}

"""What a person's chats use where a chat itself says nothing."""

from __future__ import annotations

from typing import Any

from . import providers
from .models import Defaults


def defaults_of(user_id: Any) -> Defaults:
    """The defaults of a person; of one who has stored none, and of nobody, an empty row."""
    if user_id is None:
        return Defaults()
    return Defaults.objects.filter(pk=user_id).first() or Defaults(user_id=user_id)


def default_model_id(user: Any) -> str:
    """The model of a chat that names none: the person's if it is offered, else the site's."""
    model = defaults_of(user.pk).model
    return model if model and providers.choice(model) else providers.default_model_id()


def parameters_from(cleaned: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a form with fields for them; what was left empty is not there."""
    names = ("temperature", "max_tokens")
    return {name: cleaned[name] for name in names if cleaned[name] is not None}

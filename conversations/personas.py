"""Prompts that a person keeps under a name, to begin chats with."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from .exceptions import Refused, UnknownPersona
from .models import Persona

# More than anybody picks from a list.
MOST = 200


def prompt_of(user: Any, pk: int) -> str:
    """The prompt of the person's persona `pk`. Raises UnknownPersona."""
    found = Persona.objects.filter(owner=user.pk, pk=pk).values_list("prompt", flat=True).first()
    if found is None:
        raise UnknownPersona(_("This saved prompt was deleted. Choose another one."))
    return found


def save_persona(user: Any, name: str, prompt: str) -> Persona:
    """Keep `prompt` under `name`, in place of what has that name. Raises Refused at the limit."""
    own = Persona.objects.filter(owner=user.pk)
    same = own.filter(name=name).first()
    if same is not None:
        same.prompt = prompt
        same.save(update_fields=["prompt"])
        return same
    if own.count() >= MOST:
        raise Refused(
            _("You already have %(count)d saved prompts. Delete one first.") % {"count": MOST}
        )
    return own.create(owner=user, name=name, prompt=prompt)

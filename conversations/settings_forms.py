"""The forms of the settings page and of a chat's own settings."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy as _

from . import own_keys
from .forms import SpokenForm, check_visible, too_long
from .models import NAME_MAX_CHARS, Conversation, Defaults

TEMPERATURE_MAX = 2
TOKENS_MAX = 1_000_000
TEMPERATURE_ERROR = _("The temperature must be a number from 0 to 2.")
TOKENS_ERROR = _("The maximum answer length must be a whole number of tokens, from 1 to 1,000,000.")


class PromptField(forms.CharField):
    """A system prompt: line ends become LF before anything is counted."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def validate(self, value: str) -> None:
        super().validate(value)
        if len(value) > settings.MESSAGE_MAX_CHARS:
            raise too_long(
                _("The prompt is too long: %(count)s characters, at most %(limit)s are allowed."),
                value,
                settings.MESSAGE_MAX_CHARS,
            )


class OptionsForm(SpokenForm):
    """What answers are asked with; what is left empty is decided elsewhere."""

    model = forms.CharField(required=False, max_length=200)
    system_prompt = PromptField(required=False)
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=TEMPERATURE_MAX,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), TEMPERATURE_ERROR),
    )
    max_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=TOKENS_MAX,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), TOKENS_ERROR),
    )

    @classmethod
    def showing(cls, options: Conversation | Defaults) -> OptionsForm:
        """The form as it shows what is stored."""
        stored = {"model": options.model, "system_prompt": options.system_prompt}
        return cls(initial=stored | options.parameters)


class PersonaForm(SpokenForm):
    """A prompt and its name."""

    name = forms.CharField(
        max_length=NAME_MAX_CHARS,
        error_messages={
            "required": _("Give the prompt a name."),
            "max_length": _("The name can have at most %(limit_value)d characters."),
        },
    )
    prompt = PromptField(error_messages={"required": _("Write the prompt first.")})

    def clean_name(self) -> str:
        return check_visible(self, "name", " ".join(self.cleaned_data["name"].split()))


class AppearanceForm(SpokenForm):
    """How pages look and which language they speak; empty is as the browser has it."""

    theme = forms.ChoiceField(required=False)
    language = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        themes = get_user_model()._meta.get_field("theme").choices or []
        self.fields["theme"].choices = [("", _("Match system")), *themes]  # type: ignore[attr-defined]
        self.fields["language"].choices = [  # type: ignore[attr-defined]
            ("", _("Match browser")),
            *settings.LANGUAGES,
        ]


class KeyOfOwnForm(SpokenForm):
    """A key of the person's own; its field never shows what was typed."""

    provider = forms.ChoiceField(error_messages={"required": _("Choose a provider.")})
    secret = forms.CharField(
        error_messages={
            "required": _("Paste the key first."),
            "invalid": _("A key must be 8 to 500 letters, digits or symbols, without spaces."),
        },
    )
    base_url = forms.CharField(
        required=False,
        max_length=500,
        error_messages={"max_length": _("An address can have at most %(limit_value)d characters.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].choices = own_keys.kinds()  # type: ignore[attr-defined]

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"]
        if not re.fullmatch(r"[!-~]{8,500}", secret):
            raise forms.ValidationError(self.fields["secret"].error_messages["invalid"])
        return secret

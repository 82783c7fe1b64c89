from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from .models import TITLE_MAX_CHARS, Message, QueuedMessage, Rating

QUERY_MAX_CHARS = 200


def too_long(sentence: Any, text: str, limit: int) -> ValidationError:
    """The error of a text above `limit` characters; the sentence names `count` and `limit`."""
    numbers = {"count": len(text), "limit": limit}
    return ValidationError(
        sentence % {name: number_format(n, force_grouping=True) for name, n in numbers.items()}
    )


class MessageField(forms.CharField):
    """A message as a browser sends it: line ends become LF before anything is counted."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def validate(self, value: str) -> None:
        super().validate(value)
        if len(value) > settings.MESSAGE_MAX_CHARS:
            raise too_long(
                _("The message is too long: %(count)s characters, at most %(limit)s are allowed."),
                value,
                settings.MESSAGE_MAX_CHARS,
            )


class SpokenForm(forms.Form):
    """A form whose refusal is one sentence."""

    @property
    def sentence(self) -> str:
        """The first error; empty when there is none."""
        return next((str(error) for errors in self.errors.values() for error in errors), "")

    @property
    def fresh_key(self) -> uuid.UUID:
        """A key for the composer's next rendering; each reading gives another."""
        return uuid.uuid4()


class KeyForm(SpokenForm):
    """A form that acts once: its key is new at each rendering."""

    key = forms.UUIDField(
        error_messages={
            "required": _("This form is out of date. Send it again."),
            "invalid": _("This form is out of date. Send it again."),
        }
    )


class ContentForm(KeyForm):
    """A form with a text that must not be lost."""

    content = MessageField(error_messages={"required": _("Write a message first.")})


class EditForm(ContentForm):
    """Another text for one of the person's own messages."""

    def __init__(self, message: Message, data: QueryDict | None = None) -> None:
        super().__init__(data, initial={"content": message.content})
        self.message = message

    @property
    def limit(self) -> int:
        return settings.MESSAGE_MAX_CHARS


class QueuedForm(SpokenForm):
    """Another text for a follow-up that waits, by whoever saw its `edition`."""

    content = MessageField(error_messages={"required": _("Write a message first.")})
    edition = forms.IntegerField(min_value=1)

    def __init__(self, queued: QueuedMessage, data: QueryDict | None = None) -> None:
        super().__init__(data, initial={"content": queued.content})
        self.queued = queued

    @property
    def limit(self) -> int:
        return settings.MESSAGE_MAX_CHARS


class MessageForm(ContentForm):
    # Only a conversation's first form chooses; later ones have the conversation's model.
    model = forms.CharField(required=False, max_length=200)
    persona = forms.IntegerField(required=False, min_value=1)


class ModelForm(SpokenForm):
    """Which model gives the next answers."""

    model = forms.CharField(max_length=200)


def check_visible(form: forms.Form, field: str, text: str) -> str:
    """`text`, unless all of it is blanks and signs that nobody sees: then it is as if left out."""
    if not any(char.isprintable() and not char.isspace() for char in text):
        raise ValidationError(form.fields[field].error_messages["required"])
    return text


class TitleForm(SpokenForm):
    """A title that a person writes: one line, white space as words need it."""

    title = forms.CharField(error_messages={"required": _("Enter a title first.")})

    def clean_title(self) -> str:
        title = " ".join(self.cleaned_data["title"].split())
        if len(title) > TITLE_MAX_CHARS:
            raise too_long(
                _("The title is too long: %(count)s characters, at most %(limit)s are allowed."),
                title,
                TITLE_MAX_CHARS,
            )
        return check_visible(self, "title", title)


class SearchForm(SpokenForm):
    """What is looked for."""

    q = forms.CharField(error_messages={"required": _("Enter something to search for.")})

    def clean_q(self) -> str:
        query: str = self.cleaned_data["q"]
        if len(query) > QUERY_MAX_CHARS:
            raise too_long(
                _("The search is too long: %(count)s characters, at most %(limit)s are allowed."),
                query,
                QUERY_MAX_CHARS,
            )
        return query


class SwitchForm(forms.Form):
    """Whether something is to be so, or no more."""

    on = forms.BooleanField(required=False)


class DeletedForm(forms.Form):
    """Which conversation was deleted just now."""

    deleted = forms.UUIDField()


class RatingForm(SpokenForm):
    """What a person thinks of an answer; no rating takes it back."""

    rating = forms.ChoiceField(choices=Rating.choices, required=False)
    word = forms.CharField(
        required=False,
        max_length=500,
        error_messages={"max_length": _("Use at most %(limit_value)d characters.")},
    )


class ShownForm(forms.Form):
    """What a page shows: its version, and the newest and the oldest message it has."""

    version = forms.IntegerField(min_value=0)
    leaf = forms.IntegerField(min_value=0)
    # 0, or left out: the whole path.
    first = forms.IntegerField(min_value=0, required=False)
    # The newest message that it shows; 0, or left out: the path's end.
    last = forms.IntegerField(min_value=0, required=False)

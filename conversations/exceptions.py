from __future__ import annotations

from django.utils.translation import gettext as _


class Refused(Exception):
    """An action was refused; the text is a sentence for the person who asked."""


class KeyReused(Refused):
    """The form's key was already used for another message."""


class StillRunning(Refused):
    """An answer of the conversation, perhaps in another branch, has not ended yet."""


class QueueFull(Refused):
    """As many follow-ups as may wait are waiting."""


class NotQueued(Refused):
    """The follow-up was sent, withdrawn or changed by another tab."""


class CannotContinue(Refused):
    """The answer has no text that could go on, or is not the newest."""


class Deleted(Refused):
    """The conversation was deleted while the form was on its way."""


class UnknownPersona(Refused):
    """The saved prompt was deleted, or is somebody else's."""


class UnknownModel(Refused):
    """The model is not one that this site offers."""

    @classmethod
    def of(cls, model: str) -> UnknownModel:
        """The refusal that names it."""
        return cls(_("The model %(model)s is not available.") % {"model": model})

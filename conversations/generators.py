"""The chat's generator, as `streaming` finds it."""

from __future__ import annotations

from streaming.generators import generator

from . import replies
from .actions import GENERATOR

generator(
    GENERATOR,
    may_read=replies.may_read,
    may_stop=replies.may_stop,
    on_end=replies.store,
    kept_text=replies.kept_text,
    renderer="conversations.answers.renderer",
    carries_on=replies.carries_on,
    foot_template="conversations/_foot.html",
    foot_context=replies.foot_context,
    language=replies.language,
)(replies.generate)

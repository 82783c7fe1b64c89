"""What a model thinks before it answers: where it stands in the text.

It is the beginning of the answer's stream, marked as models mark it themselves
(`<think>\\n…\\n</think>\\n\\n`), so it is stored, resumed and proven like all other text. A message
keeps it apart from its content: what is copied, searched and sent to models is the answer alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Max, Min, Q
from django.utils import timezone

if TYPE_CHECKING:
    from streaming.models import Stream

OPENING = "<think>\n"
CLOSING = "\n</think>\n\n"


def split(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a stream's text, of which `joined` makes the same text again.

    What a model marks without having thought is its answer.
    """
    reasoning, answer = parts(text)
    return (reasoning, answer) if reasoning else ("", text)


def joined(reasoning: str, answer: str) -> str:
    """The text that `split` gives the two of."""
    if not reasoning:
        return answer
    return f"{OPENING}{reasoning}{CLOSING}{answer}" if answer else f"{OPENING}{reasoning}"


def parts(text: str) -> tuple[str, str]:
    """`split` for showing, where the marks need not come back: an answer ends the reasoning."""
    if not text.startswith(OPENING):
        return "", text
    end = text.find(CLOSING, len(OPENING))
    answer = "" if end < 0 else text[end + len(CLOSING) :]
    return (text[len(OPENING) : end], answer) if answer else (text[len(OPENING) :], "")


class Marker:
    """Marks what a model thinks and says as one text, which may go on behind `committed`."""

    def __init__(self, committed: str = "") -> None:
        reasoning, answer = split(committed)
        self._thinks = bool(reasoning) and not answer
        self._has_answered = bool(answer)
        # A model that thinks again, after an interruption, does so in a paragraph of its own.
        self._again = "\n\n" if self._thinks else ""

    def thought(self, text: str) -> str:
        """What to write of reasoning: nothing once an answer has begun."""
        if self._has_answered or not text:
            return ""
        begins = self._again if self._thinks else OPENING
        self._thinks, self._again = True, ""
        return begins + text

    def said(self, text: str) -> str:
        """What to write of an answer."""
        if not text or not self._thinks:
            self._has_answered = self._has_answered or bool(text)
            return text
        self._thinks, self._has_answered = False, True
        return CLOSING + text


def seconds_of(stream: Stream) -> int | None:
    """How long the model thought, or thinks, by the times at which its text was stored; one query.

    None if it does not.
    """
    begins = Q(start=0, text__startswith=OPENING)
    times = stream.chunks.aggregate(
        began=Min("created_at", filter=begins),
        # Its last part came with the answer's first.
        ended=Min("created_at", filter=Q(text__contains=CLOSING)),
        last=Max("created_at"),
    )
    if times["began"] is None:
        return None
    ended = times["ended"] or (timezone.now() if stream.is_open else times["last"])
    return max(0, round((ended - times["began"]).total_seconds()))

"""What a page must show of an answer, at a cost that does not grow with the answer."""

from __future__ import annotations

import re
from bisect import bisect_right
from html import unescape

from conversations import answers
from conversations.markdown import renderer
from conversations.reasoning import OPENING

from .dom import words

# In the lab's texts a heading ends every block before it: what stands there changes no more.
HEADING = "\n\n## "
# A document of it would cost the observers ten times as much; no attribute of ours holds a ">".
_TAG = re.compile(r"<[^>]*>")


class Expected:
    """The words of each prefix of one text, as pages show it, running or over."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Where settled parts end, and the words up to there.
        self._ends = [0]
        self._words = [""]

    def words(self, end: int, *, is_over: bool) -> str:
        """What `text[:end]` shows, white space folded; of its end, running, what is decided."""
        while (heading := self._text.find(HEADING, self._ends[-1], end)) >= 0:
            settled = heading + len("\n\n")
            part = self._text[self._ends[-1] : settled]
            self._words.append(_joined(self._words[-1], part, is_over=False))
            self._ends.append(settled)
        at = bisect_right(self._ends, end) - 1
        return _joined(self._words[at], self._text[self._ends[at] : end], is_over=is_over)


def _joined(before: str, rest: str, *, is_over: bool) -> str:
    if rest.startswith(OPENING):
        # Only the first part can: the model thinks, and may not have begun to answer.
        document = answers.renderer.live(rest)
        if is_over:
            document.finish()
        html = document.closed_html + document.open_html
    else:
        html = renderer.render(rest, draft=not is_over)
    shown = unescape(_TAG.sub("", html))
    return f"{before} {words(shown)}".strip()

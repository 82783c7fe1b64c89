"""How an answer is shown: what the model thought as it is, then what it says as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain

from streaming.rendering import Delta, LiveDocument, PlainTextDocument, Renderer

from . import markdown
from .reasoning import CLOSING, OPENING, parts


class ThoughtDocument(PlainTextDocument):
    """Reasoning as it is, line by line."""

    css_class = "thought"


class AnswerDocument:
    """The `LiveDocument` of a text that may begin with reasoning.

    Pieces of reasoning come first, then those of the answer's own document.
    """

    def __init__(self, live: Callable[[], LiveDocument], text: str = "") -> None:
        self._live = live
        self._answer = live()
        self._thoughts = ThoughtDocument()
        # The beginning, as long as it may still turn out to be the mark.
        self._beginning: str | None = ""
        # Where the answer starts; while the model thinks what may still turn out to be its end.
        self._base: int | None = 0
        self._held = ""
        self.end = 0
        if text:
            self.feed(text)

    @property
    def key(self) -> str:
        return self._answer.key

    @property
    def cut(self) -> int:
        if self._base is None:
            return len(OPENING) + self._thoughts.cut
        return self._base + self._answer.cut

    @property
    def closed_html(self) -> str:
        return self._thoughts.closed_html + self._answer.closed_html

    @property
    def open_html(self) -> str:
        return self._thoughts.open_html + self._answer.open_html

    @property
    def open_size(self) -> int:
        return self._part.open_size

    @property
    def redraw_size(self) -> int:
        return self._part.redraw_size

    @property
    def _part(self) -> LiveDocument:
        """What grows."""
        return self._thoughts if self._base is None else self._answer

    def feed(self, text: str) -> Delta:
        self.end += len(text)
        if self._beginning is not None:
            self._beginning += text
            if self._beginning.startswith(OPENING):
                return self._begin_to_think()
            if not OPENING.startswith(self._beginning):
                self._beginning = None
        if self._base is None:
            return self._think(text)
        return self._whole(self._answer.feed(text))

    def finish(self) -> Delta:
        if self._base is None:
            held, self._held = self._held, ""
            return _one_after_other(self._thoughts.feed(held), self._thoughts.finish())
        return self._whole(self._answer.finish())

    def pieces(self, cut: int) -> Iterator[tuple[int, str]] | None:
        if self._base is not None and cut >= self._base:
            return _shifted(self._answer.pieces(cut - self._base), self._base)
        thoughts = self._thoughts.pieces(max(0, cut - len(OPENING)))
        if thoughts is None or 0 < cut < len(OPENING):
            return None
        shifted = _shifted(thoughts, len(OPENING)) or iter(())
        if self._base is None:
            return shifted
        return chain(shifted, _shifted(self._answer.pieces(0), self._base) or ())

    def _begin_to_think(self) -> Delta:
        """The text is reasoning, though the first letters of its mark may have been shown."""
        assert self._beginning is not None
        text, self._beginning, self._base = self._beginning[len(OPENING) :], None, None
        self._answer = self._live()
        delta = self._think(text)
        return replace(delta, open=delta.open or "")

    def _think(self, text: str) -> Delta:
        text = self._held + text
        end = text.find(CLOSING)
        if 0 <= end < len(text) - len(CLOSING):
            self._held = ""
            over = _one_after_other(self._thoughts.feed(text[:end]), self._thoughts.finish())
            rest = text[end + len(CLOSING) :]
            self._base = self.end - len(rest)
            return self._whole(_one_after_other(over, self._answer.feed(rest)))
        held = next(size for size in range(len(CLOSING), -1, -1) if _may_close(text, size))
        self._held = text[len(text) - held :]
        return self._thoughts.feed(text[: len(text) - held])

    def _whole(self, delta: Delta) -> Delta:
        """A change of the answer, with the reasoning before it where all is replaced."""
        return Delta(True, self.closed_html, self.open_html) if delta.full else delta


def _may_close(text: str, size: int) -> bool:
    return text.endswith(CLOSING[:size])


def _one_after_other(first: Delta, second: Delta) -> Delta:
    """Both changes as one; the first, of reasoning, is never full and appends no code."""
    open_html = first.open if second.open is None else second.open
    return Delta(second.full, first.closed + second.closed, open_html, second.code)


def _shifted(pieces: Iterator[tuple[int, str]] | None, by: int) -> Iterator[tuple[int, str]] | None:
    return None if pieces is None else ((end + by, html) for end, html in pieces)


class Answers:
    """The chat's renderer: reasoning as plain text, then the answer by `answer` (Markdown)."""

    def __init__(self, answer: Renderer) -> None:
        self._answer = answer

    @cached_property
    def version(self) -> str:
        return f"answers-1-{self._answer.version}"

    def live(self, text: str = "") -> AnswerDocument:
        return AnswerDocument(self._answer.live, text)

    def render(self, text: str) -> str:
        reasoning, answer = parts(text)
        thoughts = ThoughtDocument(reasoning)
        return thoughts.closed_html + thoughts.open_html + self._answer.render(answer)


renderer = Answers(markdown.renderer)

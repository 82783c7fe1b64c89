"""From text to safe HTML, all at once and while it grows."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import chain, islice
from typing import Protocol


class Renderer(Protocol):
    """What turns text into safe HTML. Stateless; one instance serves all streams."""

    @property
    def version(self) -> str:
        """Changes whenever the HTML for a given text may change; part of each page's render key."""
        ...

    def render(self, text: str) -> str:
        """The safe HTML of the whole `text`."""
        ...

    def live(self, text: str = "") -> LiveDocument:
        """A document that starts with `text` and grows."""
        ...


@dataclass(frozen=True, slots=True)
class Delta:
    """What changes in a page whose body stood at the document's previous state."""

    # Replace the whole body: `closed` is then all closed blocks, `open` the open one.
    full: bool
    # HTML to put before the open block.
    closed: str
    # HTML of the open block; None leaves it as it is.
    open: str | None
    # HTML to append inside the open block's only <code> element (an open fence's new lines).
    code: str = ""
    # Offset where the page then stands, if not at the document's end: it has to ask on.
    stop: int | None = None


def wire_size(text: str) -> int:
    """Bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def since(
    document: LiveDocument, cut: int, key: str, at_most: int | None = None, shown: int = 0
) -> Delta:
    """What a page needs whose closed blocks end at `cut`: full when it cannot be told.

    With `at_most` only so many bytes of it, by whole blocks, but unless it is full never less
    than what the page shows up to `shown`; see `Delta.stop`.
    """
    pieces = document.pieces(cut) if key == document.key else None
    if pieces is not None:
        return _merged(document, full=False, pieces=pieces, at_most=at_most, shown=shown)
    all_pieces = document.pieces(0) or ()
    return _merged(document, full=True, pieces=all_pieces, at_most=at_most, shown=0)


def _merged(
    document: LiveDocument,
    *,
    full: bool,
    pieces: Iterable[tuple[int, str]],
    at_most: int | None,
    shown: int,
) -> Delta:
    """Closed pieces (offset of the end, HTML) and the open block, as far as `at_most` bytes go.

    The first of them goes whatever its size: nothing smaller than a block can be put in a page.
    And so does all that the page shows up to `shown`: it must not go back.
    """
    taken: list[str] = []
    size, stop = 0, None
    for end, html in pieces:
        size += wire_size(html)
        if at_most is not None and taken and size > at_most and (stop or 0) >= shown:
            return Delta(full, "".join(taken), open="", stop=stop)
        taken.append(html)
        stop = end
    open_html = document.open_html
    too_large = at_most is not None and size + wire_size(open_html) > at_most
    if too_large and taken and open_html and (stop or 0) >= shown:
        return Delta(full, "".join(taken), open="", stop=stop)
    return Delta(full, "".join(taken), open=open_html)


class LiveDocument(Protocol):
    """HTML of a growing text: closed blocks, which never change, and one open block."""

    @property
    def key(self) -> str:
        """Hash of the renderer's version and of the definitions in force.

        Pages of another key are drawn anew.
        """
        ...

    @property
    def cut(self) -> int:
        """Offset (code points) where the closed blocks end."""
        ...

    @property
    def end(self) -> int:
        """Offset (code points) of the text fed so far."""
        ...

    @property
    def closed_html(self) -> str:
        """HTML of all closed blocks."""
        ...

    @property
    def open_html(self) -> str:
        """HTML of the open block."""
        ...

    @property
    def open_size(self) -> int:
        """Characters of text in the open block; closing it may cost as much."""
        ...

    @property
    def redraw_size(self) -> int:
        """Characters that each feed renders again.

        That is the open block, unless it grows by appended lines.
        """
        ...

    def feed(self, text: str) -> Delta:
        """Take more text in; return what changes in a page that was in step."""
        ...

    def finish(self) -> Delta:
        """Close the document; full when the pieces differ from the one-shot HTML."""
        ...

    def pieces(self, cut: int) -> Iterator[tuple[int, str]] | None:
        """(offset of the end, HTML) of each closed piece behind `cut`; None if none ends there."""
        ...


class PlainText:
    """Text as it is: escaped, its white space kept by the stylesheet.

    Each line is a piece of its own, a line above 1,000 characters several (cut at a space where
    there is one), so that text without a line feed costs no more than other text.
    """

    version = "plain-2"

    def render(self, text: str) -> str:
        document = PlainTextDocument(text)
        return document.closed_html + document.open_html

    def live(self, text: str = "") -> PlainTextDocument:
        return PlainTextDocument(text)


class PlainTextDocument:
    """The `LiveDocument` of `PlainText`."""

    key = PlainText.version
    # Of each piece's element.
    css_class = "plain"
    _piece = re.compile(r"[^\n]{0,999}\n|[^\n]{1000,1999}?[ \n]|[^\n]{2000}")

    def __init__(self, text: str = "") -> None:
        self.cut = 0
        self.end = 0
        # Offsets where pieces start, and the pieces' HTML.
        self._starts: list[int] = []
        self._pieces: list[str] = []
        self._tail = ""
        self.feed(text)

    @property
    def closed_html(self) -> str:
        return "".join(self._pieces)

    @property
    def open_html(self) -> str:
        return self._html(self._tail) if self._tail else ""

    @property
    def open_size(self) -> int:
        return len(self._tail)

    @property
    def redraw_size(self) -> int:
        return self.open_size

    def feed(self, text: str) -> Delta:
        known, before = len(self._pieces), self._tail
        tail, start = self._tail + text, 0
        while piece := self._piece.match(tail, start):
            self._starts.append(self.cut + start)
            self._pieces.append(self._html(piece[0]))
            start = piece.end()
        self._tail = tail[start:]
        self.cut += start
        self.end += len(text)
        return Delta(
            full=False,
            closed="".join(self._pieces[known:]),
            open=None if self._tail == before else self.open_html,
        )

    def finish(self) -> Delta:
        if not self._tail:
            return Delta(full=False, closed="", open=None)
        self._starts.append(self.cut)
        self._pieces.append(self.open_html)
        self._tail = ""
        self.cut = self.end
        return Delta(full=False, closed=self._pieces[-1], open="")

    def pieces(self, cut: int) -> Iterator[tuple[int, str]] | None:
        index = bisect_left(self._starts, cut)
        if cut != self.cut and self._starts[index : index + 1] != [cut]:
            return None
        ends = chain(islice(self._starts, index + 1, None), [self.cut])
        return zip(ends, islice(self._pieces, index, None), strict=False)

    def _html(self, text: str) -> str:
        return f'<span class="{self.css_class}">{escape(text, quote=False)}</span>'

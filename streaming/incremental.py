"""A live document for markup with blocks: what is closed is rendered once, only the rest again.

The rule: of the complete lines, every top-level block but the last is closed, and stays as it is
whatever follows. The text is cut after the last closed block; only what stands behind the cut is
scanned and rendered again. A verbatim block (a code fence) is not even scanned again: its lines
are appended as they are, until one of them closes it. So the cost of a feed is that of the new
text and of the open block, never that of the document.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from itertools import islice
from typing import Protocol

from .rendering import Delta


@dataclass(frozen=True, slots=True)
class Verbatim:
    """How to tell the end of a block whose lines are shown as they are."""

    # A complete line (without its line feed) that closes the block.
    closing: re.Pattern[str]
    # The beginning of a line that may still become a closing one, and so is not shown yet.
    undecided: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block: where its first line starts and its last one ends, in code points."""

    start: int
    end: int
    # Set if the block's first line opens it and all others are verbatim.
    verbatim: Verbatim | None = None


class Markup(Protocol):
    """A language of blocks, whose definitions may stand anywhere and bind in all the text."""

    @property
    def version(self) -> str:
        """Changes whenever the HTML for a given text may change."""
        ...

    def blocks(self, text: str) -> list[Block]:
        """The top-level blocks of `text`, which consists of complete lines; definitions are none.

        A block ends with its last line, or with blank lines that follow it; a verbatim one always
        with the line that closes it.
        """
        ...

    def definitions(self, text: str) -> dict[str, str]:
        """What `text` defines: label to its definition, both normalised, in order of the text."""
        ...

    def labels(self, text: str) -> set[str]:
        """At least all labels that `text` refers to."""
        ...

    def render(
        self, text: str, definitions: Mapping[str, str] | None = None, *, draft: bool = False
    ) -> str:
        """Safe HTML of whole blocks under definitions made before them.

        A draft may leave out what is dear and changes no layout (colours). A verbatim block that
        consists of its first line must give HTML with exactly one, empty `<code>` element.
        """
        ...


@dataclass(slots=True)
class _Piece:
    """Closed text, the HTML it was sent as, and where it starts."""

    start: int
    text: str
    html: str


class _OpenVerbatim:
    """A verbatim block that grows by lines; knows its source and what is shown of it."""

    def __init__(self, verbatim: Verbatim, first_line: str, empty_html: str) -> None:
        self._verbatim = verbatim
        self._head, end, foot = empty_html.rpartition("</code>")
        self._foot = end + foot
        # All but the first line of it is shown.
        self._source = [first_line]
        # The beginning of the last line while it may still close the block.
        self._held = ""
        # The last line is incomplete, but certainly shown.
        self._is_within_line = False

    @property
    def source(self) -> str:
        return "".join(self._source) + self._held

    @property
    def html(self) -> str:
        return self._head + escape("".join(self._source[1:]), quote=False) + self._foot

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take `text` in; return the HTML to append, and what follows the block if it closed."""
        start, added = 0, []
        while newline := text.find("\n", start) + 1:
            line, self._held = self._held + text[start:newline], ""
            start = newline
            self._source.append(line)
            closes = self._verbatim.closing.fullmatch(line, 0, len(line) - 1)
            if closes and not self._is_within_line:
                return "", text[start:]
            added.append(line)
            self._is_within_line = False
        self._held += text[start:]
        if self._is_within_line or not self._verbatim.undecided.fullmatch(self._held):
            self._is_within_line = True
            self._source.append(self._held)
            added.append(self._held)
            self._held = ""
        return escape("".join(added), quote=False), None


class IncrementalDocument:
    """A `streaming.rendering.LiveDocument` over a `Markup`.

    At every moment closed and open HTML are those of a fresh document given the same text at once;
    after `finish` they are those of `render`. Not thread-safe.
    """

    def __init__(self, markup: Markup, text: str = "") -> None:
        self._markup = markup
        self._definitions: dict[str, str] = {}
        # Labels that closed text refers to in vain so far: numbers of the pieces.
        self._unresolved: dict[str, list[int]] = {}
        self._pieces: list[_Piece] = []
        # Every offset that is the cut of some shorter text; sorted.
        self._boundaries = [0]
        self._tail = ""
        self._tail_html = ""
        self._verbatim: _OpenVerbatim | None = None
        # A definition has changed HTML of pieces that were there before.
        self._revised = False
        self.key = blake2b(markup.version.encode(), digest_size=8).hexdigest()
        self.cut = 0
        self.end = 0
        if text:
            self.feed(text)

    @property
    def closed_html(self) -> str:
        return "".join(piece.html for piece in self._pieces)

    @property
    def open_html(self) -> str:
        return self._verbatim.html if self._verbatim else self._tail_html

    @property
    def open_size(self) -> int:
        return self.end - self.cut

    @property
    def redraw_size(self) -> int:
        return 0 if self._verbatim else self.open_size

    def feed(self, text: str) -> Delta:
        """Take more text in; return what changes in a page that was in step."""
        self.end += len(text)
        known = len(self._pieces)
        if self._verbatim:
            code, rest = self._verbatim.feed(text)
            if rest is None:
                return Delta(full=False, closed="", open=None, code=code)
            self._close_verbatim(rest)
            before = None
        else:
            self._tail += text
            before = self._tail_html
        if "\n" in text:
            self._close_blocks()
        if not self._verbatim:
            self._tail_html = self._render_tail()
        return self._delta(known, before)

    def finish(self) -> Delta:
        """Close the document; full when the pieces differ from the one-shot HTML."""
        known, before = len(self._pieces), None if self._verbatim else self._tail_html
        rest = self._verbatim.source if self._verbatim else self._tail
        self._verbatim, self._tail, self._tail_html = None, "", ""
        self._commit(rest)
        text = "".join(piece.text for piece in self._pieces)
        html = self._markup.render(text)
        if html != self.closed_html:
            self._pieces = [_Piece(0, text, html)]
            self._boundaries = [0]
            self._revised = True
        return self._delta(known, before)

    def pieces(self, cut: int) -> Iterator[tuple[int, str]] | None:
        """(offset of the end, HTML) of each closed piece behind `cut`; None if none ends there."""
        return self._closed_after(cut) if self._is_boundary(cut) else None

    def _is_boundary(self, cut: int) -> bool:
        if cut == self.cut:
            return True
        index = bisect_left(self._boundaries, cut)
        return index < len(self._boundaries) and self._boundaries[index] == cut

    def _closed_after(self, cut: int) -> Iterator[tuple[int, str]]:
        """(offset of the end, HTML) of the closed pieces behind `cut`."""
        if cut == self.cut:
            return
        index = bisect_right(self._pieces, cut, key=lambda piece: piece.start) - 1
        for piece in islice(self._pieces, index, None):
            html = piece.html
            if cut > piece.start:
                # The page was cut by other frames, inside what was one piece here.
                html = self._markup.render(piece.text[cut - piece.start :], self._definitions)
            yield piece.start + len(piece.text), html

    def _delta(self, known: int, before: str | None) -> Delta:
        """The change since there were `known` pieces and the open HTML was `before`."""
        if self._revised:
            self._revised = False
            return Delta(full=True, closed=self.closed_html, open=self.open_html)
        closed = "".join(piece.html for piece in self._pieces[known:])
        open_html = self.open_html
        return Delta(full=False, closed=closed, open=None if open_html == before else open_html)

    def _render_tail(self) -> str:
        if not self._tail.strip(" \t\n"):
            return ""
        return self._markup.render(self._tail, self._definitions, draft=True)

    def _close_blocks(self) -> None:
        """Cut the tail by the closed-block rule; only complete lines count."""
        complete = self._tail[: self._tail.rfind("\n") + 1]
        blocks = self._markup.blocks(complete)
        if not blocks:
            return
        *closed, last = blocks
        ends = [block.end for block in closed]
        # A document cut short inside a verbatim block is cut at its first line.
        starts = [block.start for block in blocks if block.verbatim]
        self._mark_boundaries([*ends, *starts])
        # Block by block, as if each had come alone: the pages of all processes join on.
        tail, start = self._tail, 0
        for end in ends:
            self._commit(tail[start:end])
            start = end
        # Not from the start of the last block: definitions in between may still change.
        self._tail = tail[start:]
        if last.verbatim:
            self._open_verbatim(last.start - start, last.verbatim)

    def _mark_boundaries(self, offsets: Iterable[int]) -> None:
        cuts = sorted({self.cut + offset for offset in offsets} - {self._boundaries[-1]})
        self._boundaries.extend(cuts)

    def _open_verbatim(self, start: int, verbatim: Verbatim) -> None:
        """Show the tail from `start` line by line; what stands before it is closed."""
        body = self._tail.index("\n", start) + 1
        first_line, rest = self._tail[start:body], self._tail[body:]
        self._commit(self._tail[:start])
        empty = self._markup.render(first_line, draft=True)
        self._verbatim = _OpenVerbatim(verbatim, first_line, empty)
        self._tail = self._tail_html = ""
        _, after = self._verbatim.feed(rest)
        if after is not None:
            self._close_verbatim(after)

    def _close_verbatim(self, rest: str) -> None:
        assert self._verbatim is not None
        source, self._verbatim = self._verbatim.source, None
        self._commit(source)
        self._mark_boundaries([0])
        self._tail = rest

    def _commit(self, text: str) -> None:
        """Close `text`, which follows the cut: keep its definitions, render it once."""
        if not text:
            return
        self._define(self._markup.definitions(text))
        html = self._markup.render(text, self._definitions)
        for label in self._markup.labels(text) - self._definitions.keys():
            self._unresolved.setdefault(label, []).append(len(self._pieces))
        self._pieces.append(_Piece(self.cut, text, html))
        self.cut += len(text)

    def _define(self, definitions: Mapping[str, str]) -> None:
        """Put new definitions in force; revise the closed pieces that were waiting for them."""
        affected: set[int] = set()
        for label, definition in definitions.items():
            if label in self._definitions:
                continue  # the first one wins
            self._definitions[label] = definition
            affected.update(self._unresolved.pop(label, ()))
            hashed = f"{self.key}\n{definition}".encode()
            self.key = blake2b(hashed, digest_size=8).hexdigest()
        for number in affected:
            piece = self._pieces[number]
            html = self._markup.render(piece.text, self._definitions)
            self._revised = self._revised or html != piece.html
            piece.html = html

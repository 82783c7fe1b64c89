"""Plain text, and what a growing document costs whatever its markup."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.incremental import Block, IncrementalDocument, Verbatim
from streaming.rendering import Delta, LiveDocument, PlainText, since, wire_size

texts = st.text(st.sampled_from('ab <&"\n\u2028🙂'), max_size=60)
long_texts = st.builds(lambda text, times: text * times, texts, st.sampled_from([1, 50, 100]))


class Page:
    """What a browser does with deltas."""

    def __init__(self, document: LiveDocument) -> None:
        self.closed, self.open = document.closed_html, document.open_html

    def apply(self, delta: Delta) -> None:
        self.closed = delta.closed if delta.full else self.closed + delta.closed
        if delta.open is not None:
            self.open = delta.open
        self.open = self.open.replace("</code>", f"{delta.code}</code>")

    @property
    def html(self) -> str:
        return self.closed + self.open


def pieces(text: str, seed: int) -> list[str]:
    rng = random.Random(seed)
    cuts = sorted(rng.choices(range(len(text) + 1), k=min(len(text), 20)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def without_tags(html: str) -> str:
    text = re.sub("<[^>]*>", "", html)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@given(long_texts, st.integers(0, 1000))
def test_plain_text_shows_every_character_at_every_step(text: str, seed: int) -> None:
    document = PlainText().live()
    page, so_far = Page(document), ""
    for piece in pieces(text, seed):
        so_far += piece
        page.apply(document.feed(piece))
        assert page.html == document.closed_html + document.open_html == PlainText().render(so_far)
        assert without_tags(page.html) == so_far
        assert (document.end, document.open_size) == (len(so_far), len(so_far) - document.cut)
    page.apply(document.finish())
    assert page.html == PlainText().render(text)
    assert (document.cut, document.open_html) == (len(text), "")


@given(long_texts, st.integers(0, 1000))
def test_a_plain_page_drawn_elsewhere_goes_on_from_its_cut(text: str, seed: int) -> None:
    document, so_far = PlainText().live(), ""
    drawn = []
    for piece in pieces(text, seed):
        so_far += piece
        document.feed(piece)
        elsewhere = PlainText().live(so_far)
        drawn.append((Page(elsewhere), elsewhere.cut, elsewhere.key))
    for page, cut, key in drawn:
        delta = since(document, cut, key)
        assert not delta.full
        page.apply(delta)
        assert page.html == document.closed_html + document.open_html


@given(long_texts, st.integers(1, 2_500))
def test_a_plain_page_is_brought_in_step_by_parts(text: str, at_most: int) -> None:
    document = PlainText().live(text)
    page = Page(PlainText().live())
    cut, largest = -1, max([1, *map(wire_size, document._pieces)])
    while (delta := since(document, cut, document.key, at_most)).stop is not None:
        assert wire_size(delta.closed) <= max(at_most, largest)
        page.apply(delta)
        assert delta.stop > cut
        cut = delta.stop
    page.apply(delta)
    assert page.html == document.closed_html + document.open_html


def test_a_part_does_not_take_back_what_a_page_shows() -> None:
    """Its open line was shown to its middle, then two short lines closed it."""
    document = PlainText().live("one\ntwo\nthree\nfour")
    assert since(document, 0, document.key, at_most=4).stop == 4
    assert since(document, 0, document.key, at_most=4, shown=6).stop == 8


@pytest.mark.parametrize("cut", [-1, 1, 7, 1000])
def test_a_page_at_an_unknown_cut_is_drawn_again(cut: int) -> None:
    document = PlainText().live("one\ntwo\nthree")
    assert since(document, cut, document.key) == Delta(
        full=True, closed=document.closed_html, open=document.open_html
    )


def test_a_page_of_another_renderer_is_drawn_again() -> None:
    assert since(PlainText().live("one\ntwo"), 4, "other").full


def test_plain_text_without_a_line_feed_costs_no_more() -> None:
    document = PlainText().live()
    sizes = [len(document.feed("x" * 10).open or "") for _ in range(5_000)]
    assert max(sizes) < 2_100
    assert max(len(since(document, document.cut, document.key).closed), document.open_size) <= 2_000


class Counting:
    """A tiny markup that counts the characters it is given.

    Blocks are lines; `!` opens a verbatim block that a line `.` closes; `=a:word` defines a, and
    `{a}` refers to it.
    """

    version = "counting"

    def __init__(self) -> None:
        self.work = 0
        self.calls = 0

    def _count(self, text: str) -> None:
        self.work += len(text)
        self.calls += 1

    def blocks(self, text: str) -> list[Block]:
        self._count(text)
        verbatim = Verbatim(closing=re.compile(r"\."), undecided=re.compile(r"\.?"))
        found, start = [], 0
        for line in re.finditer(r"!\n(?:[^\n]*\n)*?\.\n|!\n(?:[^\n]*\n)*|[^\n]*\n", text):
            start, end = line.span()
            if not line[0].startswith("="):
                found.append(Block(start, end, verbatim if line[0].startswith("!") else None))
        return found

    def definitions(self, text: str) -> dict[str, str]:
        self._count(text)
        found: dict[str, str] = {}
        for label, word in re.findall(r"^=(\w+):(\w+)$", text, re.MULTILINE):
            found.setdefault(label, word)
        return found

    def labels(self, text: str) -> set[str]:
        self._count(text)
        return set(re.findall(r"\{(\w+)\}", text))

    def render(
        self, text: str, definitions: Mapping[str, str] | None = None, *, draft: bool = False
    ) -> str:
        self._count(text)
        known = self.definitions(text) | dict(definitions or {})
        html = re.sub(r"\{(\w+)\}", lambda label: known.get(label[1], label[0]), text)
        html = re.sub(r"(?m)^=.*\n?", "", html)
        return re.sub(r"!\n((?:(?!\.$).*\n?)*)(\.\n|\.$)?", r"[<code>\1</code>]", html, flags=re.M)


def work(text: str, size: int) -> int:
    """Characters scanned and rendered while `text` arrives in pieces of `size`."""
    markup = Counting()
    document = IncrementalDocument(markup)
    for start in range(0, len(text), size):
        document.feed(text[start : start + size])
    document.finish()
    return markup.work


@pytest.mark.parametrize(
    ("head", "line"),
    [("", "a line of prose\n"), ("!\n", "a line of code\n"), ("!\n", "code in one line ")],
    ids=["prose", "verbatim", "verbatim line"],
)
def test_ten_times_the_text_is_ten_times_the_work(head: str, line: str) -> None:
    short, long = work(head + line * 200, 7), work(head + line * 2000, 7)
    assert long <= 10.5 * short


def test_verbatim_lines_are_neither_scanned_nor_rendered_while_they_come() -> None:
    markup = Counting()
    document = IncrementalDocument(markup, "before\n!\n")
    before = markup.calls
    assert document.redraw_size == 0
    for _ in range(1_000):
        assert document.feed("x < 1\n") == Delta(
            full=False, closed="", open=None, code="x &lt; 1\n"
        )
    assert markup.calls == before
    assert document.open_size == len("!\n") + 6_000


def test_one_feed_costs_its_text_and_the_open_block_only() -> None:
    markup = Counting()
    document = IncrementalDocument(markup, "closed line\n" * 10_000)
    markup.work = 0
    document.feed("more\n")
    assert markup.work < 200


def test_a_verbatim_line_that_may_close_the_block_waits() -> None:
    document = IncrementalDocument(Counting(), "!\n")
    assert document.open_html == "[<code></code>]"
    assert document.feed("a").code == "a"
    assert document.feed("\n").code == "\n"
    assert document.feed(".") == Delta(full=False, closed="", open=None, code="")
    assert document.feed("b").code == ".b"
    assert document.feed("\n.").code == "\n"
    assert document.feed("\nend") == Delta(full=False, closed="[<code>a\n.b\n</code>]", open="end")
    assert document.cut == len("!\na\n.b\n.\n")


def test_several_verbatim_blocks_may_come_in_one_piece() -> None:
    text = "a\n!\nb\n.\nc\n!\nd\n.\n!\ne"
    document = IncrementalDocument(Counting(), "!\n")
    document.feed("x\n.\n" + text)
    assert document.closed_html + document.open_html == (
        "[<code>x\n</code>]a\n[<code>b\n</code>]c\n[<code>d\n</code>][<code>e</code>]"
    )


def test_a_definition_that_changes_what_was_sent_sends_all_of_it_once() -> None:
    document = IncrementalDocument(Counting(), "see {a}\nmore\n")
    key = document.key
    assert not document.feed("=a:first\nnext\n").full
    assert document.feed("last\n") == Delta(
        full=True, closed="see first\nmore\nnext\n", open="last\n"
    )
    assert document.key != key
    assert document.feed("=a:second\n{a}\nend") == Delta(
        full=False, closed="last\n", open="first\nend"
    )


def test_a_definition_of_what_nobody_used_replaces_nothing() -> None:
    document = IncrementalDocument(Counting(), "one\n=a:first\n")
    key = document.key
    assert not document.feed("two\nthree\n").full
    assert since(document, len("one\n"), key).full
    assert document.key != key


def test_the_end_replaces_all_when_the_pieces_differ_from_the_whole() -> None:
    class Whole(Counting):
        def render(self, text: str, *args: Mapping[str, str] | None, draft: bool = False) -> str:
            return "whole" if text == "a\nb\n" else super().render(text, *args, draft=draft)

    document = IncrementalDocument(Whole(), "a\nb")
    document.feed("\n")
    assert document.finish() == Delta(full=True, closed="whole", open="")
    assert since(document, 2, document.key).full
    assert not since(document, 4, document.key).full

"""The closed-block rule: however the text is cut, the page shows what one render shows."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.engines import PythonEngine, RustEngine
from conversations.markdown import Markdown
from streaming.rendering import Delta, LiveDocument, Renderer, since

RUST = Markdown(RustEngine)
PYTHON = Markdown(PythonEngine)

both_engines = pytest.mark.parametrize("markdown", [RUST, PYTHON], ids=["rust", "python"])


@cache
def corpus() -> list[str]:
    """The documents of `markdown_corpus.txt`."""
    path = Path(__file__).with_name("markdown_corpus.txt")
    return path.read_text(encoding="utf-8").split("%%%%%%%%\n")[1:-1]


FRAGMENTS = [
    "# Title\n", "text", "text\n", "\n", "\n\n", " ", "    ", "\t", "- ", "- item\n", "  - sub\n",
    "1. ", "> ", "> quote\n", "```\n", "```py\nx = 1\n", "~~~\n", "`", "``", "```", "   ```\n",
    "\n\n| a | b |\n|---|---|\n", "| 1 | 2 |\n", "|", "|-", "---\n", "===\n", "***", "**", "*", "_",
    "[a]", "[b]", "[x](https://x.example)", "![i](https://i.example/i.png)", "[", "]",
    "<div>\n", "</div>\n", "<b>", "<!--", "-->\n", "<script>\n", "https://auto.example", "\\",
    "&amp;", "日本語", "🙂", "\u2028", "\u0085", "\u00a0", "- [ ] task\n", "~~", "  \n",
    "\n\n[a]: https://a.example\n\n", "\n\n[b]: <https://b.example> 'B'\n\n",
    "\n\n> [a]: https://q.example\n\n",
    "$x$", "$", "$$", "\n$$\n", "\n\\[\n", "\\]\n", "\\(", "\\)", "= b\n", "\n\n$$a\n- b\n$$\n\n",
]  # fmt: skip

# Definitions and tables in places where comrak and pyromark do not agree what they are.
WILD_FRAGMENTS = [
    "\x0c",
    "| a | b |\n|---|---|\n",
    "[a]: https://a.example\n",
    "[b]:\n",
    "[a]:",
    "[b]: <x> 'y",
    "> [b]: z\n",
    *FRAGMENTS,
]


def documents_of(fragments: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(fragments), max_size=25).map("".join)


class Page:
    """What a browser does with deltas."""

    def __init__(self) -> None:
        self.closed = ""
        self.open = ""

    def apply(self, delta: Delta) -> None:
        if delta.full:
            self.closed = ""
        self.closed += delta.closed
        if delta.open is not None:
            self.open = delta.open
        if delta.code:
            assert self.open.count("</code>") == 1
            self.open = self.open.replace("</code>", f"{delta.code}</code>")

    @property
    def html(self) -> str:
        return self.closed + self.open


def pieces(text: str, rng: random.Random, longest: int) -> list[str]:
    """`text` cut at random into pieces of 1 to `longest` characters."""
    cut, found = 0, []
    while cut < len(text):
        size = rng.randint(1, longest)
        found.append(text[cut : cut + size])
        cut += size
    return found


def check_every_step(markdown: Renderer, text: str, rng: random.Random, longest: int) -> None:
    """Feed `text` in pieces: page, document and a fresh document agree after each of them."""
    document, page, so_far = markdown.live(), Page(), ""
    for piece in pieces(text, rng, longest):
        so_far += piece
        page.apply(document.feed(piece))
        assert (page.closed, page.open) == (document.closed_html, document.open_html)
        fresh = markdown.live(so_far)
        assert page.html == fresh.closed_html + fresh.open_html, repr(so_far)
        # What looked like a block may turn out a definition; the cut never goes back.
        assert document.cut >= fresh.cut
        assert document.end == fresh.end == len(so_far)
    check_end(markdown, document, page, text)


def check_end(markdown: Renderer, document: LiveDocument, page: Page, text: str) -> None:
    page.apply(document.finish())
    assert page.html == document.closed_html == markdown.render(text)
    assert (document.open_html, document.cut, document.end) == ("", len(text), len(text))


def check_pages(renderer: Renderer, text: str, rng: random.Random) -> None:
    """A page comes from another process, whose document was fed the text so far at once."""
    document, so_far = renderer.live(), ""
    waiting: list[tuple[str, int, int, str]] = []
    for piece in pieces(text, rng, 30):
        so_far += piece
        document.feed(piece)
        drawn = renderer.live(so_far)
        waiting.append((drawn.closed_html, drawn.cut, drawn.end, drawn.key))
        for closed, cut, end, key in rng.sample(waiting, min(3, len(waiting))):
            page = Page()
            page.closed = closed
            delta = since(document, cut, key)
            # Only a definition costs such a page its closed blocks.
            assert not delta.full or "]:" in so_far
            page.apply(delta)
            assert page.html == document.closed_html + document.open_html
            # By parts it comes to the same, stands at a block's end after each, and never shows
            # less than before.
            page.closed, page.open = closed, ""
            while (delta := since(document, cut, key, 100, shown=end)).stop is not None:
                page.apply(delta)
                assert page.open == ""
                assert delta.full or delta.stop >= end
                cut, key = delta.stop, document.key
            page.apply(delta)
            assert page.html == document.closed_html + document.open_html


@both_engines
@pytest.mark.parametrize("number", range(len(corpus())))
def test_every_step_shows_what_a_fresh_document_shows(markdown: Markdown, number: int) -> None:
    longest = 1 if markdown is RUST else 40
    check_every_step(markdown, corpus()[number], random.Random(number), longest)


@settings(derandomize=True, max_examples=600, deadline=None)
@given(documents_of(FRAGMENTS), st.integers(0, 2**32), st.sampled_from([1, 3, 10, 60]))
def test_random_documents_in_random_pieces(text: str, seed: int, longest: int) -> None:
    check_every_step(RUST, text, random.Random(seed), longest)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(documents_of(WILD_FRAGMENTS), st.integers(0, 2**32), st.sampled_from([1, 10, 60]))
def test_random_documents_with_the_fallback_engine(text: str, seed: int, longest: int) -> None:
    check_every_step(PYTHON, text, random.Random(seed), longest)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(documents_of(WILD_FRAGMENTS), st.integers(0, 2**32))
def test_the_end_is_exact_even_where_the_two_parsers_disagree(text: str, seed: int) -> None:
    document, page = RUST.live(), Page()
    for piece in pieces(text, random.Random(seed), 10):
        page.apply(document.feed(piece))
        assert page.html == document.closed_html + document.open_html
    check_end(RUST, document, page, text)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(corpus()), max_size=5).map("\n".join), st.integers(0, 2**32))
def test_a_page_drawn_at_any_moment_is_brought_into_step(text: str, seed: int) -> None:
    check_pages(RUST, text, random.Random(seed))

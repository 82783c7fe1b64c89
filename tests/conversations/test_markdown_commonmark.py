"""CommonMark's own examples: what streams is what one render gives, however it was cut.

The examples stand in `tests/vendor`; its README tells where they come from.
"""

from __future__ import annotations

import json
import random
from functools import cache

import pytest

from conversations.engines import RustEngine
from conversations.markdown import Markdown
from streaming.rendering import since
from tests.services import ROOT

from .test_markdown_incremental import Page, check_every_step, pieces

MARKDOWN = Markdown(RustEngine)
EXAMPLES = 652
fifty_each = pytest.mark.parametrize("first", range(0, EXAMPLES, 50))


@cache
def examples() -> list[str]:
    """The Markdown of the examples, in order."""
    path = ROOT / "tests" / "vendor" / "commonmark.json"
    return [example["markdown"] for example in json.loads(path.read_text(encoding="utf-8"))]


def test_all_examples_are_there() -> None:
    assert len(examples()) == EXAMPLES


@fifty_each
def test_an_example_shows_at_every_step_what_a_fresh_document_shows(first: int) -> None:
    for number, text in enumerate(examples()[first : first + 50], start=first):
        rng = random.Random(number)
        for longest in (1, 3, 10, 40):
            check_every_step(MARKDOWN, text, rng, longest)


@pytest.mark.parametrize("seed", range(40))
def test_examples_in_one_answer_end_as_one_render(seed: int) -> None:
    """Definitions, lists and open fences of one example reach into the next."""
    rng = random.Random(seed)
    text = rng.choice(["", "\n"]).join(rng.sample(examples(), 12))
    document, page = MARKDOWN.live(), Page()
    for piece in pieces(text, rng, 30):
        page.apply(document.feed(piece))
    page.apply(document.finish())
    assert page.html == MARKDOWN.render(text)


@pytest.mark.parametrize("seed", range(120))
def test_a_page_drawn_by_other_frames_is_brought_into_step(seed: int) -> None:
    """The page comes from a process that got the text in small pieces; this one's are large."""
    rng = random.Random(seed)
    text = rng.choice(["", "\n"]).join(rng.sample(examples(), 12))
    elsewhere = MARKDOWN.live()
    drawn: list[tuple[str, int, str, int]] = []
    for piece in pieces(text, rng, 3):
        elsewhere.feed(piece)
        drawn.append((elsewhere.closed_html, elsewhere.cut, elsewhere.key, elsewhere.end))
    document = MARKDOWN.live()
    for piece in pieces(text, rng, 200):
        document.feed(piece)
        fresh = MARKDOWN.live(text[: document.end])
        behind = [page for page in drawn if page[3] <= document.end]
        for closed, cut, key, _end in rng.sample(behind, min(10, len(behind))):
            page = Page()
            page.closed = closed
            page.apply(since(document, cut, key))
            assert page.html == fresh.closed_html + fresh.open_html, (document.end, cut)

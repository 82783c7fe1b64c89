"""The benchmark counts what is lost, doubled or late: it must see each of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conversations.bench.client import count_marks
from conversations.bench.measure import percentiles
from conversations.bench.page import (
    Shown,
    composer_of,
    parse_frame,
    plain_text,
    topics_of,
)
from conversations.bench.series import medians
from conversations.bench.texts import (
    CLOCK_PERIOD,
    MARK,
    SHAPES,
    clock,
    mark,
    milliseconds_since,
    tokens,
)
from conversations.markdown import renderer
from streaming.frames import stream_frame

STREAM = uuid.uuid4()


def page_with(closed: str = "", open_html: str = "", cut: int = 0) -> str:
    return (
        f'<main><div id="stream-{STREAM}" class="stream" data-cut="{cut}" data-key="k"'
        f' data-stream="{STREAM}"><div id="stream-{STREAM}-body" class="stream-body" hx-disable>'
        f'{closed}<div id="stream-{STREAM}-open" class="stream-open">{open_html}</div></div>'
        f'<div id="stream-{STREAM}-foot" class="stream-foot"></div></div></main>'
    )


def shown_after(text: str, pieces: int) -> Shown:
    """What a tab shows after the real renderer's frames for `text`, fed in `pieces`."""
    shown = Shown.in_page(page_with())
    document = renderer.live()
    start = 0
    size = -(-len(text) // pieces)
    for offset in range(0, len(text), size):
        delta = document.feed(text[offset : offset + size])
        apply(shown, delta, start=start, cut=document.cut, end=document.end, key=document.key)
        start = document.cut
    delta = document.finish()
    apply(shown, delta, start=start, cut=document.cut, end=document.end, key="k")
    return shown


def apply(shown: Shown, delta: Any, **header: Any) -> None:
    shown.apply(*parse_frame(stream_frame(STREAM, delta, **header).text(1, 1)), clock())


def answer(shape: str, count: int) -> str:
    return "".join(
        before + mark(number) + after for number, (before, after) in enumerate(tokens(shape, count))
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pieces", [1, 7, 120])
def test_frames_of_a_whole_answer_show_every_mark_once_and_in_order(
    shape: str, pieces: int
) -> None:
    text = answer(shape, 120)
    shown = shown_after(text, pieces)
    assert shown.errors == []
    assert shown.seen == 120
    assert len(shown.latencies) == 120
    assert count_marks(shown.html(), 120) == (0, 0, 0)
    assert plain_text(shown.html()) == plain_text(renderer.render(text))


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_have_about_22_characters_and_one_mark_each(shape: str) -> None:
    text = answer(shape, 300)
    assert 20 <= len(text) / 300 <= 23
    assert [int(number) for number, _ in MARK.findall(text)] == list(range(300))


def test_what_a_page_held_already_counts_too() -> None:
    shown = Shown.in_page(page_with(f"<p>{mark(0)}</p>", f"<p>{mark(1)}</p>", cut=30))
    assert (shown.stream, shown.cut, shown.seen) == (str(STREAM), 30, 2)
    assert shown.errors == []


def frame(shown: Shown, open_html: str, **header: Any) -> None:
    content = f'<div hx-swap-oob="innerHTML:#stream-{STREAM}-open">{open_html}</div>'
    shown.apply({"full": False, "from": 0, "cut": 0, "key": "k"} | header, content, clock())


def test_a_frame_that_does_not_go_on_from_the_page_is_an_error() -> None:
    shown = Shown.in_page(page_with())
    frame(shown, "", **{"from": 5})
    assert shown.errors == ["a frame goes on from 5, the page is at 0"]


def test_a_gap_and_a_repetition_are_errors() -> None:
    shown = Shown.in_page(page_with())
    frame(shown, f"{mark(0)} {mark(2)}")
    assert shown.errors == ["mark 2 stands where 1 was expected"]
    shown = Shown.in_page(page_with(f"<p>{mark(0)}</p>"))
    frame(shown, mark(0))
    assert shown.errors == ["mark 0 stands where 1 was expected"]


def test_lost_doubled_and_reordered_marks_are_counted() -> None:
    assert count_marks(mark(0) + mark(2), 3) == (1, 0, 0)
    assert count_marks(mark(0) + mark(1) + mark(1), 2) == (0, 1, 0)
    assert count_marks(mark(1) + mark(0), 2) == (0, 0, 1)


def test_time_goes_on_across_the_clocks_wrap() -> None:
    assert milliseconds_since(CLOCK_PERIOD - 10, 15) == 2.5


def test_the_composer_and_the_topics_are_read_from_a_page() -> None:
    page = (
        '<form id="composer" method="post" action="/c/" hx-post="/c/">'
        '<input type="hidden" name="csrfmiddlewaretoken" value="t&amp;t"></form>'
        '<input type="hidden" name="key" value="k" form="composer">'
        '<div id="state" data-topic="conversation:1" data-version="7" hx-get="/x/?a=1&amp;b=2">'
    )
    form = composer_of(page)
    assert form.action == "/c/"
    assert form.fields == {"csrfmiddlewaretoken": "t&t", "key": "k"}
    assert topics_of(page) == {"conversation:1": (7, "/x/?a=1&b=2")}


def test_medians_are_taken_of_each_figure_and_errors_are_kept() -> None:
    runs = [
        {"cpu": 3.0, "ms": {"p50": 1.0}, "lost": 1, "errors": ["a"], "growth": 2.0},
        {"cpu": 1.0, "ms": {"p50": 9.0}, "lost": 0, "errors": []},
        {"cpu": 2.0, "ms": {"p50": 5.0}, "lost": 2, "errors": ["b"]},
    ]
    assert medians(runs) == {
        "cpu": 2.0,
        "ms": {"p50": 5.0},
        "lost": 3,
        "errors": ["a", "b"],
        "growth": 2.0,
    }


def test_percentiles_of_a_hundred_values() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50.5, "p99": 99}
    assert percentiles([]) == {"p50": None, "p99": None}

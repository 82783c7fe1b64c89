from __future__ import annotations

from conversations import answers
from conversations.lab.dom import parse, words
from conversations.lab.expected import Expected
from conversations.lab.provider import Script
from conversations.markdown import renderer

TEXT = Script(name="s00", tokens=250).answer


def shown(html: str) -> str:
    return words(parse(html).text())


def test_every_prefix_is_what_the_whole_renderer_shows():
    expected = Expected(TEXT)
    for end in range(0, len(TEXT) + 1, 7):
        live = renderer.live(TEXT[:end])
        running = shown(live.closed_html + live.open_html)
        assert expected.words(end, is_over=False) == running, end
        assert expected.words(end, is_over=True) == shown(renderer.render(TEXT[:end])), end


def test_what_is_thought_before_the_answer_is_expected_too():
    text = Script(name="s00", tokens=30, think_after=0, think_seconds=3).stored
    expected = Expected(text)
    for end in range(len(text) + 1):
        live = answers.renderer.live(text[:end])
        running = shown(live.closed_html + live.open_html)
        assert expected.words(end, is_over=False) == running, end
    assert expected.words(len(text), is_over=True) == shown(answers.renderer.render(text))


def test_a_page_that_shows_less_than_before_is_answered_too():
    expected = Expected(TEXT)
    expected.words(len(TEXT), is_over=True)
    assert expected.words(50, is_over=True) == shown(renderer.render(TEXT[:50]))

from __future__ import annotations

from conversations.lab.dom import parse, words
from conversations.lab.expected import Expected
from conversations.lab.provider import Script
from conversations.markdown import renderer

TEXT = Script(name="s00", tokens=250).answer


def test_every_prefix_is_what_the_whole_renderer_shows():
    expected = Expected(TEXT)
    for end in range(0, len(TEXT) + 1, 7):
        assert expected.words(end) == words(parse(renderer.render(TEXT[:end])).text()), end


def test_a_page_that_shows_less_than_before_is_answered_too():
    expected = Expected(TEXT)
    expected.words(len(TEXT))
    assert expected.words(50) == words(parse(renderer.render(TEXT[:50])).text())

from __future__ import annotations

import pytest

from conversations.lab.dom import parse, swap

PAGE = '<div id="s-body"><p>one</p><div id="s-open"><pre><code>a\n</code></pre></div></div>'


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        (
            '<div hx-swap-oob="beforebegin:#s-open"><p>two</p></div>',
            '<div id="s-body"><p>one</p><p>two</p><div id="s-open"><pre><code>a\n</code></pre>'
            "</div></div>",
        ),
        (
            '<div hx-swap-oob="innerHTML:#s-open">b &amp; c</div>',
            '<div id="s-body"><p>one</p><div id="s-open">b &amp; c</div></div>',
        ),
        (
            '<div hx-swap-oob="beforeend:#s-open code">b\n</div>',
            '<div id="s-body"><p>one</p><div id="s-open"><pre><code>a\nb\n</code></pre></div>'
            "</div>",
        ),
        ('<div hx-swap-oob="delete:#s-open"></div>', '<div id="s-body"><p>one</p></div>'),
        (
            '<i id="s-open" hx-swap-oob="true"></i>',
            '<div id="s-body"><p>one</p><i id="s-open"></i></div>',
        ),
    ],
)
def test_it_swaps_as_htmx_does(fragment, expected):
    document = parse(PAGE)
    assert swap(document, fragment) == []
    assert document.html() == expected


def test_a_target_that_is_not_there_is_told():
    with pytest.raises(LookupError, match="no #other"):
        swap(parse(PAGE), '<div hx-swap-oob="innerHTML:#other">x</div>')


def test_two_ways_to_write_the_same_html_are_equal():
    one = parse('<a href="/x" class="y">&lt;é</a><br>')
    other = parse('<a class="y" href="/x">&lt;&eacute;</a><br/>')
    assert one.html() == other.html()


def test_the_text_follows_every_swap():
    document = parse(PAGE)
    assert document.text() == "onea\n"
    swap(document, '<div hx-swap-oob="beforeend:#s-open code">b\n</div>')
    assert document.text() == "onea\nb\n"
    swap(document, '<div hx-swap-oob="delete:#s-open"></div>')
    assert document.text() == "one"

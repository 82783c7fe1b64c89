"""What Markdown becomes, and what it never becomes."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest

from conversations import highlight as highlighting
from conversations.engines import PythonEngine, RustEngine
from conversations.highlight import highlight
from conversations.markdown import MAX_QUOTE_DEPTH, Markdown

RUST = Markdown(RustEngine)
PYTHON = Markdown(PythonEngine)

both_engines = pytest.mark.parametrize("markdown", [RUST, PYTHON], ids=["rust", "python"])


def code_box(language: str, class_name: str, code: str) -> str:
    return (
        '<div class="code-block"><div class="code-head">'
        f'<span class="code-language">{language}</span></div>'
        f'<pre tabindex="0"><code{class_name}>{code}</code></pre></div>\n'
    )


@both_engines
def test_a_fence_has_a_head_with_its_language_and_colours(markdown: Markdown) -> None:
    html = markdown.render("```python\nif a < 1: pass\n```\n")
    assert '<span class="code-language">python</span>' in html
    assert '<code class="language-python"><span class="k">if</span> a <span class="o">&lt;' in html


@both_engines
def test_an_unknown_language_stays_plain(markdown: Markdown) -> None:
    html = markdown.render("```no-such\nif a < 1: pass\n```\n")
    assert html == code_box("no-such", ' class="language-no-such"', "if a &lt; 1: pass\n")


@both_engines
def test_a_strange_language_is_a_label_but_no_class(markdown: Markdown) -> None:
    html = markdown.render("```{r}\"'<x>\nx\n```\n")
    assert html == code_box("{r}\"'&lt;x&gt;", "", "x\n")


@both_engines
def test_a_draft_has_the_same_box_without_colours(markdown: Markdown) -> None:
    text = "- item\n\n  ```python\n  x = 1\n\n  # done\n  ```\n"
    final, draft = markdown.render(text), markdown.render(text, draft=True)
    assert draft != final
    assert draft == re.sub(r'<span class="(?!code-language)[^"]*">([^<]*)</span>', r"\1", final)


@both_engines
def test_a_wide_table_scrolls_in_its_own_box(markdown: Markdown) -> None:
    html = markdown.render("|a|b|\n|:-:|-|\n|1|2|\n")
    assert html.startswith('<div class="table-scroll" tabindex="0"><table>')
    assert html.endswith("</table></div>\n")
    assert '<td align="center">1</td>' in html


@both_engines
def test_tasks_are_marks_that_nobody_can_click(markdown: Markdown) -> None:
    html = markdown.render("- [x] done\n- [ ] open\n")
    inputs = re.findall("<input[^>]*>", html)
    assert [" checked=" in mark for mark in inputs] == [True, False]
    assert all('type="checkbox"' in mark and "disabled" in mark for mark in inputs)


@both_engines
def test_links_open_nothing_by_themselves(markdown: Markdown) -> None:
    rel = 'rel="noopener noreferrer nofollow"'
    html = markdown.render("[a](https://a.example 't') <b@b.example> https://c.example www.d.org")
    host = '<span class="link-host"> a.example</span>'
    assert f'<a href="https://a.example" title="t" {rel}>a{host}</a>' in html
    assert f'<a href="mailto:b@b.example" {rel}>' in html
    assert f'<a href="https://c.example" {rel}>' in html
    assert f'<a href="http://www.d.org" {rel}>' in html


@both_engines
@pytest.mark.parametrize("target", ["/logout", "logout", "#id", "//a.example", "ftp://a.example"])
def test_links_lead_to_other_sites_only(markdown: Markdown, target: str) -> None:
    assert "href" not in markdown.render(f"[x]({target})")


@both_engines
def test_an_image_becomes_a_link_to_it(markdown: Markdown) -> None:
    html = markdown.render("![a *cat*](https://i.example/?q=1&r=2)")
    assert '>a cat<span class="link-host"> i.example</span></a>' in html
    assert 'href="https://i.example/?q=1&amp;r=2"' in html
    assert markdown.render("![](https://i.example/i.png)").count("https://i.example/i.png") == 2


@both_engines
def test_an_image_that_cannot_be_linked_becomes_its_text(markdown: Markdown) -> None:
    assert markdown.render("![local](/i.png)") == "<p>local</p>\n"
    html = markdown.render("[![alt](https://i.example)](https://a.example)")
    assert html.count("<a ") == 1
    assert '>alt<span class="link-host"> a.example</span></a>' in html


@both_engines
def test_raw_html_is_shown_as_text(markdown: Markdown) -> None:
    html = markdown.render("A `List<T>` is no List<T>.\n\n<div>\nx\n</div>\n")
    assert "List&lt;T&gt;." in html
    assert "&lt;div&gt;" in html


@both_engines
def test_definitions_made_earlier_are_in_force(markdown: Markdown) -> None:
    definitions = markdown.definitions("[A  b]: <https://a.example/x y> 'T\"<&\\''\n\ntext\n")
    html = markdown.render("[a\nB]\n", definitions)
    assert 'href="https://a.example/x%20y"' in html
    assert 'title="T&quot;&lt;&amp;\'"' in html


def test_many_references_to_one_definition_all_resolve() -> None:
    text = "[a]: https://example.com/" + "x" * 200 + "\n\n" + "[a] " * 100
    assert RUST.render(text).count("<a ") == 100


def test_quotes_are_not_nested_without_end() -> None:
    html = RUST.render(">" * 20_000 + " x")
    assert html.count("<blockquote>") == MAX_QUOTE_DEPTH


def test_without_the_rust_wheels_python_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its engine is made when it is first asked for.
    with_rust = RUST.version
    monkeypatch.setitem(sys.modules, "comrak", None)
    markdown = Markdown()
    assert markdown.render("# a\n") == "<h1>a</h1>\n"
    assert markdown.version == PYTHON.version != with_rust


# What people and models might write to reach the page's scripts.
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<div hx-get=/admin hx-trigger=load data-hx-get=/x ws-send id=x style='x'>y</div>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](java&#x0A;script:alert(1))",
    "[x](\u0001javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](https://i.example)',
    '![x](https://i.example/"onerror="alert(1))',
    "[x](https://a.example 'x\" onclick=\"alert(1)')",
    '[x](https://a.example/"onmouseover="alert(1))',
    "[a]: javascript:alert(1)\n\n[a]\n\nx\n",
    "[a]: https://a.example '\"><script>alert(1)</script>'\n\n[a]\n\nx\n",
    '[a" onclick="x]: https://a.example\n\n[a" onclick="x]\n\nx\n',
    "<javascript:alert(1)>",
    '<https://a.example/"onclick="alert(1)>',
    '```x"onclick="alert(1)\ncode\n```\n',
    "```html\n<script>alert(1)</script>\n<b hx-get=/x onclick=y>\n```\n",
    "```\n</code></pre><script>alert(1)</script>\n",
    "`</code><script>alert(1)</script>`",
    "|<script>|\n|-|\n|<img onerror=x>|\n",
    "- <style>*{}</style>\n- <iframe srcdoc='<script>x</script>'>\n",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img onerror=x&#62;",
    '<math><mi//xlink:href="data:x,<script>alert(1)</script>">',
    "<!--><img src=x onerror=alert(1)>-->",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<base href=//evil.example><meta http-equiv=refresh content=0><form><input name=x>",
    "# x {#id .class onclick=y}\n",
    "https://a.example/<script>alert(1)</script>",
    "<p><form hx-post=/x><template><script>alert(1)</script></template>",
]

TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "div", "pre", "span"),
    *("a", "code", "del", "em", "s", "strong", "ul", "ol", "li", "input"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("href", "title", "rel", "class", "tabindex", "align", "start"),
    *("type", "checked", "disabled", "aria-label"),
}


class Inspector(HTMLParser):
    """Fails on anything that is not on the lists above."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name)
            if name == "href":
                assert re.match("(https?://|mailto:)", value or ""), value

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def inspect(html: str) -> None:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()


@both_engines
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_text_at_every_moment_of_the_stream(markdown: Markdown, attack: str) -> None:
    text = f"before {attack}\n\n{attack}\n\n- {attack}\n\nafter"
    document = markdown.live()
    for character in text:
        delta = document.feed(character)
        for fragment in (delta.closed, delta.open or "", delta.code):
            inspect(fragment)
        assert "<" not in delta.code
    document.finish()
    inspect(document.closed_html)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_cut_in_two_are_harmless(attack: str) -> None:
    for cut in range(len(attack)):
        inspect(RUST.render(attack[:cut]))
        inspect(RUST.render(attack[cut:]))


@pytest.mark.parametrize("language", ["python", "html", "diff", "pycon", "console", "json", "c++"])
def test_colours_change_no_character(language: str) -> None:
    code = "\n\n  a <b> & 'c'\t\u2028 \U0001f642\n>>> x = 1\n$ ls\n+ {\"k\": 1}\n\n\n"
    html = highlight(code, language)
    shown: list[str] = []
    parser = HTMLParser()
    parser.handle_data = shown.append  # type: ignore[method-assign]
    parser.feed(html)
    parser.close()
    assert "".join(shown) == code


def test_very_long_code_is_not_coloured() -> None:
    line = "x = 1\n"
    assert "<span" in highlight(line, "python")
    assert "<span" not in highlight(line * (highlighting.MAX_CHARS // len(line) + 1), "python")


def test_what_is_kept_of_coloured_code_is_bounded() -> None:
    for number in range(40):
        highlight(f"x = {number}\n" * 1000, "python")
        assert highlighting._cached_chars <= highlighting.CACHE_CHARS
    assert highlighting._cached_chars == sum(map(len, highlighting._cache.values())) > 0

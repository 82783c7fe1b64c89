from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.engines import PythonEngine, RustEngine
from conversations.formulas import MAX_CHARS, marked, mathml
from conversations.markdown import Markdown

RUST = Markdown(RustEngine)
PYTHON = Markdown(PythonEngine)

both_engines = pytest.mark.parametrize("markdown", [RUST, PYTHON], ids=["rust", "python"])


def text_of(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


@both_engines
@pytest.mark.parametrize(
    ("source", "display"),
    [
        ("so $x^2$ is", "inline"),
        (r"so \(x^2\) is", "inline"),
        ("so $2^n$ is", "inline"),
        ("$$x^2$$", "block"),
        (r"\[x^2\]", "block"),
        ("$$\nx\n- y\n= z\n$$", "block"),
        ("1. Solve\n   $$\n   x = 1\n   $$", "block"),
        ("> $$x$$", "block"),
        ("| a |\n|---|\n| $x$ |", "inline"),
        ("# A title with $x$", "inline"),
        (r"\begin{x} $\begin{aligned}a&=b\\&=c\end{aligned}$", "inline"),
    ],
)
def test_a_formula_is_mathml(markdown: Markdown, source: str, display: str) -> None:
    html = markdown.render(source)
    assert html.count(f'<math display="{display}">') == html.count("<math") == 1
    assert "$" not in text_of(html)
    assert "<ul>" not in html


@both_engines
@pytest.mark.parametrize(
    "source",
    [
        "It costs $5 and $6.",
        "$5.00, $6.00",
        "from $ 5 to $ 6",
        r"not \$x\$ either",
        "`$x$`",
        "``a ` $x$``",
        "a $x\ny$ b",
        "$$x\n\ny$$",
        "$x",
        "$$",
        "$$$$",
        r"\[",
        "$a`b$",
        "https://a.example/?a=$b&c=$d",
        "[a](https://a.example/$x$)",
    ],
)
def test_what_is_no_formula_stays_text(markdown: Markdown, source: str) -> None:
    assert "<math" not in markdown.render(source)


@both_engines
def test_code_shows_what_was_written(markdown: Markdown) -> None:
    code = "a = $x$ + $$\ny\n$$ \\(z\\) `$w$`\n"
    fenced = f"```\n{code}```".replace("\n", "\n  ")
    html = markdown.render(f"- list\n\n  {fenced}")
    assert text_of(html).strip().removeprefix("list").strip() == code.strip()
    assert markdown.render(f"```\n{code}```").count("<math") == 0


@both_engines
@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\text{<img src=x onerror=alert(1)>}",
        r"\href{javascript:alert(1)}{x}",
        r"\class{evil}{x}",
        r"\style{color:red}{x}",
        r"x & y < z",
        "</math><script>alert(1)</script>",
        "<!--",
    ],
)
def test_nothing_of_a_formula_is_live(markdown: Markdown, tex: str) -> None:
    for source in (f"${tex}$", f"$$\n{tex}\n$$", f"\\[{tex}\\]"):
        for tag in re.findall("<[^>]+>", markdown.render(source).lower()):
            assert not tag.startswith(("<script", "<img", "<a", "<!--")), tag
            assert not re.search(r"href|style=|onerror|evil", tag), tag


UNKNOWN = (r"\frac{", r"\left(x", r"\newcommand{\a}{\b}", "{" * 40 + "}" * 40)


@pytest.mark.parametrize("tex", UNKNOWN)
def test_what_cannot_be_converted_shows_its_source(tex: str) -> None:
    assert mathml(tex, is_display=False) == ""
    assert RUST.render(f"$${tex}$$").count("math-source") == 1


def test_a_bar_in_a_formula_ends_no_cell() -> None:
    html = RUST.render("| a | b |\n|---|---|\n| $|x|$ | $c$ |\n\nAnd $d$.")
    assert html.count("<math") == 3
    assert html.count("<td>") == 2


def test_a_long_one_is_text() -> None:
    assert "<math" in RUST.render(f"$${'x' * (MAX_CHARS - 10)}$$")
    assert "<math" not in RUST.render(f"$${'x' * MAX_CHARS}$$")


def test_a_block_whose_end_is_still_to_come_shows_its_source_in_one_block() -> None:
    document = RUST.live("before\n\n$$\na\n- b\n")
    assert document.closed_html == "<p>before</p>\n"
    assert document.open_html == (
        '<div class="math-box"><code class="math-source">$$\na\n- b</code></div>\n'
    )
    document.feed("= c\n$$\n\nafter\n\n# end\n")
    assert document.closed_html.count("<math") == 1
    assert "<ul>" not in document.closed_html


def test_a_dollar_that_is_never_closed_ends_with_its_paragraph() -> None:
    document = RUST.live("$$ echo $$\n\n$$\npid\n\n- b\n\nafter\n\n")
    assert "<ul>" in document.closed_html


PARTS = [
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "`", "``", "```\n", "\n", "\n\n", " ", "x", "5"),
    *("{", "}", "\\frac", "^", "_", "&", "<script>", "\\text{", "<", ">", "|", "- ", "> "),
    *("\ue100", "\\begin{aligned}", "\\end{aligned}", "\\left(", "\\right)", "\\\\", "[a](b)"),
]
HOSTILE = st.lists(
    st.sampled_from(PARTS),
    max_size=40,
).map("".join)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(HOSTILE)
def test_whatever_is_written_nothing_private_or_live_is_shown(text: str) -> None:
    for markdown in (RUST, PYTHON):
        html = markdown.render(text)
        assert not re.search("[\ue101-\ue105]", html)
        assert "<script" not in html


@settings(derandomize=True, max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_text_without_formulas_keeps_every_character_but_the_marks(text: str) -> None:
    spans = re.sub("`[\ue100-\ue105][^`]*`", "", marked(text))
    assert len(spans) <= len(text)

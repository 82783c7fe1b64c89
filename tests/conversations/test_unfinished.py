"""What is shown of an answer while it is written: nothing that the next characters take back."""

from __future__ import annotations

import re
import time
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations import bench
from conversations.engines import PythonEngine, RustEngine
from conversations.markdown import Markdown
from conversations.unfinished import MAX_LABEL, MAX_LINE, MAX_OPEN, MAX_PARAGRAPH, settled

from .test_markdown_incremental import FRAGMENTS, documents_of
from .test_markdown_incremental import corpus as documents

RUST = Markdown(RustEngine)
PYTHON = Markdown(PythonEngine)
SAMPLE = Path(bench.__file__).with_name("answer.md").read_text(encoding="utf-8")


def draft(text: str, markdown: Markdown = RUST) -> str:
    """What is shown while `text` is all that there is, in one line."""
    return markdown.render(text, draft=True).replace("\n", "")


def seen(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


@pytest.mark.parametrize("markdown", [RUST, PYTHON], ids=["rust", "python"])
@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a **bo", "<p>a <strong>bo</strong></p>"),
        ("a **bo*", "<p>a <strong>bo</strong></p>"),
        ("a **bo ", "<p>a <strong>bo</strong></p>"),
        ("***a", "<p><em><strong>a</strong></em></p>"),
        ("*a **b", "<p><em>a <strong>b</strong></em></p>"),
        ("a _b", "<p>a <em>b</em></p>"),
        ("## T *i", "<h2>T <em>i</em></h2>"),
        ("> **q", "<blockquote><p><strong>q</strong></p></blockquote>"),
        ("- **a**: `x` and *y", "<strong>a</strong>: <code>x</code> and <em>y</em></li></ul>"),
        ("`co", "<p><code>co</code></p>"),
        ("``a`", "<p><code>a</code></p>"),
        ("**a `c", "<p><strong>a <code>c</code></strong></p>"),
        ("`a **b", "<p><code>a **b</code></p>"),
        ("one\n**two\nthr", "<p>one<strong>twothr</strong></p>"),
        # Of the paragraph before nothing is open any more.
        ("**one\n\n", "<p>**one</p>"),
        ("**one\n\ntwo", "<p>**one</p><p>two</p>"),
    ],
)
def test_what_has_begun_is_closed(markdown: Markdown, text: str, html: str) -> None:
    assert draft(text, markdown).endswith(html)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        # Short, it may be a note, a box, a place to fill in: it waits for what follows it.
        ("see [the docs", "<p>see</p>"),
        ("see [the docs]", "<p>see</p>"),
        ("see [`doc", "<p>see</p>"),
        ("see [the docs](https://exam", "<p>see the docs</p>"),
        ("see [`doc`](https://exam", "<p>see <code>doc</code></p>"),
        ("see [the *docs](https://exam", "<p>see the <em>docs</em></p>"),
        ("see ![a **cat](https://exam", "<p>see a cat</p>"),
        ("**see [the docs](https://exam", "<p><strong>see the docs</strong></p>"),
        ("see [the docs](https://a.example/x_(y", "<p>see the docs</p>"),
        ('see [the docs](https://a.example "Ti', "<p>see the docs</p>"),
        ("- [1. Intro](#in", "<ul><li>1. Intro</li></ul>"),
        # No address, and an array.
        ("arr[i](then we go on", "<p>arr[i](then we go on</p>"),
        ("arr[i][j] is", "<p>arr[i][j] is</p>"),
    ],
)
def test_of_a_link_its_label_comes_first(text: str, html: str) -> None:
    assert draft(text) == html


def test_a_label_that_gets_no_address_is_shown_as_it_is() -> None:
    assert draft("[sic] so") == "<p>[sic] so</p>"
    assert draft("Dear [Your Name],") == "<p>Dear [Your Name],</p>"
    long = "[" + "word " * (MAX_LABEL // 5) + "more"
    assert draft(long) == f"<p>{long}</p>"
    assert RUST.render("[here]()") == "<p>here</p>\n"


def test_a_definition_waits_for_its_end() -> None:
    before = "as [here] and [there].\n\n"
    shown = "<p>as [here] and [there].</p>"
    for rest in ("[here]: ", "[here]: https://a.ex", '[here]: https://a.example "Ti'):
        assert draft(before + rest) == shown
    assert draft(f"{before}[here]: it is a long") == f"{shown}<p>[here]: it is a long</p>"


# What opens emphasis, and then something that has to wait: nothing of both, and no other block.
@pytest.mark.parametrize("rest", ["[", "[do", "`", "![", "$x", "\\(y", "\\", "[`d"])
@pytest.mark.parametrize("mark", ["**", "*", "__", "~~"])
def test_a_mark_before_what_waits_waits_with_it(mark: str, rest: str) -> None:
    assert draft(mark + rest) == ""
    assert draft(f"One {mark}{rest}") == "<p>One</p>"
    assert draft(f"- One\n- {mark}{rest}") == "<ul><li>One</li></ul>"
    assert draft(f"> {mark}{rest}") == ""
    table = "| a | b |\n|---|---|\n"
    assert draft(f"{table}| {mark}{rest}") == draft(table)
    assert "<td>1</td><td></td>" in draft(f"{table}| 1 | {mark}{rest}")


@pytest.mark.parametrize("rest", ["[do", "$x", "\\(y"])
def test_what_is_left_of_a_line_is_no_block(rest: str) -> None:
    assert draft(f"| a | b |\n|---|---|\n| {rest}") == draft("| a | b |\n|---|---|\n")
    for start in ("- ", "1. ", "## ", "> "):
        assert draft(start + rest) == ""


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**use `int*", "<p><strong>use <code>int*</code></strong></p>"),
        ("**a\\* b", "<p><strong>a* b</strong></p>"),
        ("**Total: 5 * ", "<p><strong>Total: 5</strong></p>"),
        ("x `` ` ``", "<p>x <code>`</code></p>"),
        ("[`run()`](https://exam", "<p><code>run()</code></p>"),
    ],
)
def test_a_mark_that_is_text_at_the_end_is_told_from_one_that_was_added(
    text: str, html: str
) -> None:
    assert draft(text) == html


def test_a_single_tilde_strikes_nothing_out() -> None:
    text = "3~5만원이고, 10~20분"
    assert RUST.render(text) == PYTHON.render(text) == f"<p>{text}</p>\n"
    assert RUST.render("~~a~~ and `~b~`") == "<p><del>a</del> and <code>~b~</code></p>\n"


# One a word, to be read as a list; "+" stands for a space.
LINES = """
    - -+ -- --- = * ** *** + # ##+ > >+ 1 1. 1.+ ` `` ``` ```p ~~~ -+[ -+[+ -+[x -+[+] -+[+]+ 1.+**
    [ ![ _ ~~ \\ $ $$ $x $\\frac{a} \\( \\(a+-+b
"""
TABLES = ["| a", "| a | b |", "| a | b |\n", "| a | b |\n|", "| a | b |\n| :-", "| a |\n|---|"]


@pytest.mark.parametrize("rest", [*(one.replace("+", " ") for one in LINES.split()), *TABLES, "+ "])
def test_a_line_waits_for_what_decides_it(rest: str) -> None:
    assert draft(f"Before:\n{rest}") == "<p>Before:</p>"
    assert draft(rest) == ""


@pytest.mark.parametrize("rest", ["**", " *", " `", " ``", " [", " ![", "\\", " $", " $x", " \\(x"])
def test_a_mark_at_the_end_waits_for_what_it_marks(rest: str) -> None:
    assert draft(f"One{rest}") == "<p>One</p>"


@pytest.mark.parametrize(
    "text",
    [
        *("5*3 and 4", "2 * 3", "snake_case_name", "2**10 is", "a ~ b"),
        *("costs $5 and", "pay $x for the book", "x \\*y", "<div>**a", "https://a.example/_b_*c"),
        *("note [1] and", "a[i] is", "- [1, 2] and"),
    ],
)
def test_what_is_no_mark_is_shown_as_it_is(text: str) -> None:
    assert seen(draft(text)).startswith(text.removeprefix("- ").replace("\\", ""))


def test_a_first_line_with_a_bar_is_shown_when_it_is_no_table() -> None:
    assert draft("|x| is positive") == ""
    assert draft("|x| is positive\nand") == "<p>|x| is positiveand</p>"
    assert draft("|x| is positive\n\n") == "<p>|x| is positive</p>"
    assert draft("|" + "x" * MAX_LINE) == f"<p>|{'x' * MAX_LINE}</p>"


def test_the_rows_of_a_table_come_cell_by_cell() -> None:
    table = "| a | b |\n|---|---|\n"
    assert draft(table).startswith('<div class="table-scroll" tabindex="0"><table><thead>')
    assert draft(f"{table}|") == draft(table)
    assert "<td>1</td><td></td>" in draft(f"{table}| 1")
    assert "<td>1</td><td><em>x</em></td>" in draft(f"{table}| 1 | *x")


def test_code_in_an_item_is_left_alone() -> None:
    assert "<code>x **b\n[c" in RUST.render("- a\n  ```\n  x **b\n  [c", draft=True)
    assert "<code>x\n-" in RUST.render("- a\n  ~~~\n  x\n  -", draft=True)
    # But its last line may be what ends it.
    for end in ("`", "``", "```"):
        assert RUST.render(f"- a\n  ```\n  x\n  {end}", draft=True) == RUST.render(
            "- a\n  ```\n  x\n", draft=True
        )
    # Not code: the mark stands in a line with more of them.
    assert draft("```a``` **b") == "<p><code>a</code> <strong>b</strong></p>"


def test_a_tilde_is_no_mark_and_two_are() -> None:
    assert draft("~~gone") == "<p><del>gone</del></p>"
    assert draft("about ~5") == "<p>about ~5</p>"


def test_marks_in_indented_code_get_no_others() -> None:
    assert draft("    a = b **c") == draft("    a = b **c\n")
    assert "**c" in draft("    a = b **c")


def test_more_open_marks_than_anybody_means_are_not_all_closed() -> None:
    _, closing = settled("*a _b " * MAX_OPEN)
    assert len(closing) == MAX_OPEN
    long = "word " * (MAX_PARAGRAPH // 5) + "**b"
    assert settled(long) == (long, "")


def paragraph_of(words: str) -> str:
    """As long a paragraph of them as is looked through."""
    return words * ((MAX_PARAGRAPH - 20) // len(words))


def seconds(text: str) -> float:
    """Processor time of one look at it, the least of three."""
    times = []
    for _ in range(3):
        began = time.process_time()
        settled(text)
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize(
    "nasty",
    [
        *(paragraph_of(words) for words in ("*a_ ", "_a* *b ", "[", "$a", "\\(", "[](", "](a(")),
        *(
            paragraph_of("](") + "\n",
            "](" + "(bb" * 600 + " x",
            "](" + "b" * 1_900 + " x",
            paragraph_of("`") + "a",
        ),
        *("|" + "-" * 20_000 + "x", "|" + " " * 9_000 + "x\n", "| a\n" * 9_000, "~~~ `\n" * 9_000),
        *("- " * 20_000, "- " * (MAX_LINE // 2 - 5) + "x", "> " * (MAX_LINE // 2 - 5) + "x"),
    ],
)
def test_what_is_made_to_be_slow_is_not(nasty: str) -> None:
    usual = paragraph_of("and the sentence goes on with *some emphasis* and never breaks ")
    assert settled(usual)[0].startswith("and the")
    # The worst takes fifty times as long; one way through all pairs of groups, for ever.
    assert seconds(nasty) < 200 * seconds(usual)


@pytest.mark.parametrize("markdown", [RUST, PYTHON], ids=["rust", "python"])
def test_a_usual_answer_takes_nothing_back(markdown: Markdown) -> None:
    """What a page shows after each character is the beginning of what it shows after the next."""
    document, shown = markdown.live(), ""
    for character in SAMPLE:
        document.feed(character)
        now = seen(document.closed_html + document.open_html)
        assert now.startswith(shown), SAMPLE[: document.end][-60:]
        shown = now
    document.finish()
    assert seen(document.closed_html).startswith(shown)


# A host behind a link and a formula's signs stand in no text.
PLAIN = [one for one in FRAGMENTS if not re.search(r"[$\\&\[\]<h]", one)]


@settings(derandomize=True, max_examples=400, deadline=None)
@given(documents_of(PLAIN), st.integers(0, 400))
def test_nothing_is_shown_that_was_not_written(text: str, end: int) -> None:
    written = iter(text[:end])
    for character in seen(RUST.render(text[:end], draft=True)):
        assert character == " " or character in written, (text[:end], draft(text[:end]))


@pytest.mark.parametrize("number", range(len(documents())))
def test_no_mark_is_added_to_what_is_read(number: int) -> None:
    text = documents()[number]
    for end in range(0, len(text), 7):
        shown = seen(draft(text[:end]))
        for mark in "*_~`[|#":
            assert shown.count(mark) <= text[:end].count(mark), (mark, text[:end][-80:])


def test_marks_beside_korean_words_need_no_spaces() -> None:
    assert draft("이것은**단어(word)") == "<p>이것은<strong>단어(word)</strong></p>"
    assert RUST.render("**단어(word)**를") == "<p><strong>단어(word)</strong>를</p>\n"
    assert RUST.render('**"강조"**는') == '<p><strong>"강조"</strong>는</p>\n'

"""What is shown of Markdown whose end is still to come.

The next character may make something else of the last ones: a line and `-` are a heading until an
item follows, a table's first line is a paragraph until its second one stands there, `**` and `[`
are characters until their other half comes. So what cannot be decided yet waits for what decides
it, and what has begun is closed for the moment. A guess that proves wrong costs one redrawing.
"""

from __future__ import annotations

import re
import unicodedata

from .formulas import CLOSINGS, formula_end, is_pending

# What is longer is shown as it is rather than held back.
MAX_LINE = 500
MAX_LABEL = 60
MAX_FORMULA = 200
MAX_PARAGRAPH = 4_000
# Marks within marks, which are closed.
MAX_OPEN = 20

# What lists and quotes put in front of a line.
_CONTAINERS = r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t][ \t>]*)*"
_FENCE = re.compile(rf"^{_CONTAINERS}(`{{3,}}|~{{3,}})(.*)$", re.MULTILINE)
_FENCE_BEGUN = re.compile(rf"{_CONTAINERS}(?:`{{3,}}[^`]*|~{{3,}}.*)")
_FENCE_END = re.compile(r"[ \t>]*(?:`+|~+)[ \t]*")
# Marks, or what may become marks, and nothing that is marked yet.
_MARKS_ALONE = re.compile(
    rf"{_CONTAINERS}(?:[-+=*_#~`:|\\$][-+=*_#~`:|\\$ \t]*|\d{{1,9}}[.)]?|!?\[[ xX]?\]?[ \t]*)?"
)
# What a label stands for; a definition is no text at all.
_DEFINITION = re.compile(r"[ \t>]*\[[^\[\]]{1,200}\]:[ \t]*+(?:\S++(?:[ \t]++(?:[\"'(].*+)?)?)?")
_ROW = re.compile(r"[ \t>]*\|")
_DELIMITER_ROW = re.compile(r"^[ \t>]*+(?=[^\n]*\|)(?=[^\n]*-)[|: \t-]++$", re.MULTILINE)
# Where no paragraph goes on from the line before.
_BLOCK_START = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]|\||$)")

# The address of a link, and one whose end is still to come: a title may follow, nothing else.
_ADDRESS = r"\]\((?:[^()\n]++|\([^()\n]*+\))*+\)"
_ADDRESS_BEGUN = (
    r"\]\((?=[^\n]{0,2000}\Z)(?:[^()\s]++|\([^()\s]*+\)?+)*+(?:[ \t]++(?:[\"'(][^\n]*+)?)?\Z"
)
# Each token begins so, which is found sooner than the token itself.
_BEGINNING = re.compile(r"[\\`$<!\[\]*_~]|https?://")
_TOKEN = re.compile(
    r"\\[(\[]|\\.|\\\Z|`+|\$\$?|<https?://[^>\s]*>?|https?://[^\s)>\]*]+|!?\["
    rf"|(?P<address>{_ADDRESS})|(?P<begun>{_ADDRESS_BEGUN})|\]|\*+|_+|~+",
    re.DOTALL,
)
# A word in prose, which no formula between single dollars holds.
_WORD = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{3,}")
_TAG = re.compile(r"<[^>]*>")

# What opens emphasis: the character, how many, and where the first stands.
Mark = tuple[str, int, int]


def settled(text: str) -> tuple[str, str]:
    """As much of `text` as is decided, and what closes the marks that are open at its end."""
    line = text.rfind("\n") + 1
    if _ends_in_fence(text[:line]):
        return text[:line] if _FENCE_END.fullmatch(text, line) else text, ""
    text = _without_undecided_lines(text, line)
    start = _paragraph(text)
    is_over = text.count("\n", len(text.rstrip())) > 1
    if is_over or len(text) - start > MAX_PARAGRAPH:
        return text, ""
    paragraph, closing = _closed(text[start:])
    line = paragraph.rfind("\n") + 1
    if len(paragraph) < len(text) - start and _MARKS_ALONE.fullmatch(paragraph, line):
        # What is left of the line would be taken for something else.
        paragraph, closing = _closed(paragraph[:line])
    return text[:start] + paragraph, closing


def is_read(html: str, closing: str, text: str) -> bool:
    """Whether some of what was added to close marks became text, where Markdown has no marks.

    `html` is what the engine made of `text` and `closing`: what was added stands at its end.
    """
    shown = _TAG.sub("", html).rstrip()
    # Some of these at the end of `text` are marks, before others that are characters.
    return _run_at_end(shown, closing) > _run_at_end(text.rstrip(), closing + "*_~`")


def _run_at_end(text: str, characters: str) -> int:
    return len(text) - len(text.rstrip(characters))


def _without_undecided_lines(text: str, start: int) -> str:
    """`text` up to where its last lines, the very last from `start` on, may become other blocks."""
    line = text[start:]
    if len(line) > MAX_LINE:
        return text
    begun = (_MARKS_ALONE, _FENCE_BEGUN, _DEFINITION)
    is_held = any(pattern.fullmatch(line) for pattern in begun)
    is_row = not is_held and bool(_ROW.match(line))
    if not is_held and not is_row:
        return text
    before = text.rfind("\n", 0, max(0, start - 1)) + 1
    if not start or not _ROW.match(text, before, start):
        # The first row waits, whole, for the line that makes a table of it.
        return text[:start]
    block = max(text.rfind("\n\n", 0, start), 0)
    if _DELIMITER_ROW.search(text, block, start) or _ROW.match(_line_before(text, before)):
        return text[:start] if is_held else text
    return text if is_row else text[:before]


def _line_before(text: str, start: int) -> str:
    """The line that ends where the one from `start` on begins."""
    return text[text.rfind("\n", 0, max(0, start - 1)) + 1 : start] if start else ""


def _ends_in_fence(text: str) -> bool:
    fence = ""
    if "```" not in text and "~~~" not in text:
        return False
    for mark, rest in _FENCE.findall(text):
        if not fence:
            # What follows backticks in their line tells a fence from code in a line.
            fence = "" if mark[0] == "`" and "`" in rest else mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return bool(fence)


def _paragraph(text: str) -> int:
    """Where the last paragraph, item, heading or row of `text` begins."""
    end = len(text.rstrip())
    while True:
        start = text.rfind("\n", 0, end) + 1
        if start == 0 or len(text) - start > MAX_PARAGRAPH or _BLOCK_START.match(text, start, end):
            return start
        end = start - 1


def _closed(text: str) -> tuple[str, str]:
    """A paragraph without undecided characters at its end, and what closes its open marks."""
    marks: list[Mark] = []
    # Where brackets stand that are open.
    brackets: list[int] = []
    position = 0
    while beginning := _BEGINNING.search(text, position):
        position = beginning.end()
        token = _TOKEN.match(text, beginning.start())
        if token is None:
            continue
        start, position = token.span()
        found = token[0]
        if found == "\\":
            return _ended(text[:start], marks, brackets)
        if found[0] == "`":
            closing = re.compile(rf"(?<!`){found}(?!`)").search(text, position)
            if closing is None:
                return _in_code(text, start, position, marks, brackets)
            position = closing.end()
        elif found in CLOSINGS:
            end = formula_end(text, found, position, len(text))
            if end is None and is_pending(text, start, found):
                # It is shown as its source for the moment, which holds no marks.
                return text, ""
            if end is None and _may_be_formula(text, start, found):
                return _ended(text[:start], marks, brackets)
            position = end or position
        elif found in ("[", "!["):
            brackets.append(start)
        elif found[0] == "]" and brackets:
            if token["begun"]:
                return _linked(text[:start], brackets.pop(), marks, brackets)
            if token["address"] or position < len(text):
                brackets.pop()
        elif found[0] in "*_~" and not _take(text, start, found, marks):
            return _ended(text[:start], marks, brackets)
    return _ended(text, marks, brackets)


def _ended(text: str, marks: list[Mark], brackets: list[int]) -> tuple[str, str]:
    """`text` without a label that may be a link's, or a mark that marks nothing yet, at its end."""
    end = len(text)
    text = text[: next((at for at in brackets if end - at <= MAX_LABEL), end)]
    marks = [mark for mark in marks if mark[2] < len(text)]
    while marks and len(text.rstrip()) <= marks[-1][1] + marks[-1][2]:
        text = text[: marks.pop()[2]]
    closing = _closing(marks)
    return (text.rstrip(), closing) if closing else (text, "")


def _closing(marks: list[Mark]) -> str:
    return "".join(mark * count for mark, count, _ in reversed(marks))


def _in_code(
    text: str, start: int, end: int, marks: list[Mark], brackets: list[int]
) -> tuple[str, str]:
    """Code that has begun, with `text[start:end]`, is closed; what is around it is, too."""
    # Backticks at its end may become what closes it.
    content = text.rstrip("` \t\n")
    if len(content) <= end or any(len(content) - at <= MAX_LABEL for at in brackets):
        return _ended(text[:start], marks, brackets)
    return content, text[start:end] + _closing(marks)


def _linked(label: str, opening: int, marks: list[Mark], brackets: list[int]) -> tuple[str, str]:
    """`label` ends with that of a link, from `opening` on: it leads nowhere for the moment."""
    inner = [mark for mark in marks if mark[2] > opening]
    outer = [mark for mark in marks if mark[2] < opening]
    if not label[opening:].strip("![ "):
        return _ended(label[:opening], outer, brackets)
    return label, f"{_closing(inner)}](){_closing(outer)}"


def _may_be_formula(text: str, start: int, opening: str) -> bool:
    """Whether what begins at `start` reads like a formula in a line so far."""
    rest = text[start + len(opening) :]
    if len(rest) > MAX_FORMULA or "\n" in rest or "`" in rest:
        return False
    if opening != "$":
        return True
    return not rest or not (rest[0].isspace() or rest[0].isdigit() or _WORD.search(rest))


def _take(text: str, start: int, run: str, marks: list[Mark]) -> bool:
    """Let a run of marks close and open emphasis, as CommonMark 6.2 says it.

    False if nothing but white space follows, and what it does is not decided yet.
    """
    mark, count, end = run[0], len(run), start + len(run)
    before, after = _kind(text[max(0, start - 1) : start]), _kind(text[end : end + 1])
    # Within a word it is rather a product, or a name, than emphasis.
    may_open = after != "space" and before != "word" and (mark != "_" or before != "wide")
    may_close = before != "space" and (before != "mark" or after != "word")
    may_close = may_close and (mark != "_" or after not in ("word", "wide"))
    while may_close and count and any(one == mark for one, _, _ in marks):
        while marks[-1][0] != mark:
            marks.pop()
        _, opened, at = marks.pop()
        if opened > count:
            marks.append((mark, opened - count, at))
        count = max(0, count - opened)
    if count and after == "space" and not text[end:].strip():
        return False
    if count and may_open and (mark != "~" or count == 2) and len(marks) < MAX_OPEN:
        marks.append((mark, count, end - count))
    return True


def _kind(character: str) -> str:
    """What stands beside a mark; Chinese, Japanese and Korean words have no spaces around them."""
    if not character or character.isspace():
        return "space"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return "wide" if unicodedata.east_asian_width(character) in "WFH" else "word"
    return "mark"

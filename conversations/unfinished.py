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
MAX_LABEL = 200
MAX_PARAGRAPH = 8_000
# Marks within marks, which are closed.
MAX_OPEN = 20

# What lists and quotes put in front of a line.
_CONTAINERS = r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*"
_FENCE = re.compile(rf"^{_CONTAINERS}(`{{3,}}|~{{3,}})(.*)$", re.MULTILINE)
_FENCE_BEGUN = re.compile(rf"{_CONTAINERS}(?:`{{3,}}[^`]*|~{{3,}}.*)")
# Marks, or what may become marks, and nothing that is marked yet.
_MARKS_ALONE = re.compile(
    rf"{_CONTAINERS}(?:[-+=*_#~`:|\\$][-+=*_#~`:|\\$ \t]*|\d{{1,9}}[.)]?|!?\[[ xX]?\]?[ \t]*)?"
)
_ROW = re.compile(r"[ \t>]*\|")
_DELIMITER_ROW = re.compile(r"^[ \t>]*+(?=[^\n]*\|)(?=[^\n]*-)[|: \t-]++$", re.MULTILINE)
# Where no paragraph goes on from the line before.
_BLOCK_START = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]|\||$)")

_TOKEN = re.compile(
    r"\\[(\[]|\\.|\\\Z|`+|\$\$?|<https?://[^>\s]*>?|https?://[^\s)>\]*]+"
    r"|!?\[|\]\((?:[^()\n]++|\([^()\n]*+\))*+\)|\]\((?:[^()\n]++|\([^()\n]*+\)?+)*+\Z|\]"
    r"|\*+|_+|~+",
    re.DOTALL,
)
# A label that is rather one of these is none of a link: a note's number, a check box.
_NO_LABEL = re.compile(r"[\d\s^]|[xX]?\]")
# A word in prose, which no formula between single dollars holds.
_WORD = re.compile(r"(?<![\\{A-Za-z])[A-Za-z]{3,}")
_TAG = re.compile(r"<[^>]*>")


def settled(text: str) -> tuple[str, str]:
    """As much of `text` as is decided, and what closes the marks that are open at its end."""
    shown = _without_undecided_lines(text)
    if shown is None:
        return text, ""
    start = _paragraph(shown)
    is_over = shown.count("\n", len(shown.rstrip())) > 1
    if is_over or len(shown) - start > MAX_PARAGRAPH:
        return shown, ""
    paragraph, closing = _closed(shown[start:])
    return shown[:start] + paragraph, closing


def is_read(html: str, closing: str) -> bool:
    """Whether some of what was added to close marks became text, where Markdown has no marks.

    `html` is the engine's; what was added stands at its end, where no other marks are.
    """
    return _TAG.sub("", html[-MAX_LINE:]).rstrip().endswith(tuple(closing.strip()))


def _without_undecided_lines(text: str) -> str | None:
    """`text` up to where its last lines may become another block; None in a code block."""
    start = text.rfind("\n") + 1
    line = text[start:]
    if _ends_in_fence(text[:start]):
        return None
    if len(line) > MAX_LINE:
        return text
    is_held = bool(_MARKS_ALONE.fullmatch(line) or _FENCE_BEGUN.fullmatch(line))
    is_row = bool(_ROW.match(line)) and not is_held
    if line and not is_held and not is_row:
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
    # What has been opened: a mark and how often, or a bracket and where it stands.
    marks: list[tuple[str, int]] = []
    brackets: list[int] = []
    position = 0
    while token := _TOKEN.search(text, position):
        start, position = token.span()
        found = token[0]
        if found == "\\":
            return _ended(text[:start], marks)
        if found[0] == "`":
            closing = re.compile(rf"(?<!`){found}(?!`)").search(text, position)
            if closing is None:
                return _in_code(text, start, position, marks)
            position = closing.end()
        elif found in CLOSINGS:
            end = formula_end(text, found, position, len(text))
            if end is None and is_pending(text, start, found):
                # It is shown as its source for the moment, which holds no marks.
                return text, ""
            if end is None and _may_be_formula(text, start, found):
                return _ended(text[:start], marks)
            position = end or position
        elif found in ("[", "!["):
            brackets.append(start)
        elif found[0] == "]":
            if not brackets:
                continue
            opening = brackets.pop()
            if position == len(text) and found.count("(") >= found.count(")") + (found != "]"):
                return _ended(_without_link(text, opening, start), marks)
        elif found[0] in "*_~" and not _take(text, start, found, marks):
            return _ended(text[:start], marks)
    if brackets and len(text) - brackets[-1] <= MAX_LABEL:
        text = _without_link(text, brackets[-1], len(text))
    return _ended(text, marks)


def _ended(text: str, marks: list[tuple[str, int]]) -> tuple[str, str]:
    closing = "".join(mark * count for mark, count in reversed(marks))
    return (text.rstrip(), closing) if closing else (text, "")


def _in_code(text: str, start: int, end: int, marks: list[tuple[str, int]]) -> tuple[str, str]:
    """Code that has begun, with `text[start:end]`, is closed; what is around it is, too."""
    # Backticks at its end may become what closes it.
    content = text.rstrip().rstrip("`").rstrip()
    if len(content) <= start:
        return _ended(text[:start], marks)
    return content, text[start:end] + _ended("", marks)[1]


def _may_be_formula(text: str, start: int, opening: str) -> bool:
    """Whether what begins at `start` reads like a formula in a line so far."""
    rest = text[start + len(opening) :]
    if len(rest) > MAX_LABEL or "\n" in rest or "`" in rest:
        return False
    if opening != "$":
        return True
    return not rest or not (rest[0].isspace() or rest[0].isdigit() or _WORD.search(rest))


def _without_link(text: str, opening: int, label_end: int) -> str:
    """`text` with the label alone of the link that begins at `opening` and has not ended."""
    start = opening + (2 if text[opening] == "!" else 1)
    # Without its address it may be a note, a box or an index as well.
    is_sure = text.startswith("](", label_end)
    if not is_sure and (_NO_LABEL.match(text, start) or _kind(text[:opening][-1:]) == "word"):
        return text
    return text[:opening] + text[start:label_end]


def _take(text: str, start: int, run: str, marks: list[tuple[str, int]]) -> bool:
    """Let a run of marks close and open emphasis, as CommonMark 6.2 says it.

    False if it stands at the end and what it does is not decided yet.
    """
    mark, count, end = run[0], len(run), start + len(run)
    before, after = _kind(text[start - 1 : start]), _kind(text[end : end + 1])
    # Within a word it is rather a product, or a name, than emphasis.
    may_open = after != "space" and before != "word" and (mark != "_" or before != "wide")
    may_close = before != "space" and (before != "mark" or after != "word")
    may_close = may_close and (mark != "_" or after not in ("word", "wide"))
    while may_close and count and any(one == mark for one, _ in marks):
        while marks[-1][0] != mark:
            marks.pop()
        _, open_count = marks.pop()
        if open_count > count:
            marks.append((mark, open_count - count))
        count = max(0, count - open_count)
    if count and end == len(text):
        return False
    if count and may_open and (mark != "~" or count == 2) and len(marks) < MAX_OPEN:
        marks.append((mark, count))
    return True


def _kind(character: str) -> str:
    """What stands beside a mark; Chinese, Japanese and Korean words have no spaces around them."""
    if not character or character.isspace():
        return "space"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return "wide" if unicodedata.east_asian_width(character) in "WFH" else "word"
    return "mark"

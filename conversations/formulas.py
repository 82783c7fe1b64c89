"""Formulas in Markdown: where they stand, and what they are as MathML.

A formula stands between `$…$` (in one line), `$$…$$`, `\\(…\\)` or `\\[…\\]`, none of which reaches
over a blank line or a backtick. Markdown would take what is in it for marks of its own. So each is
handed to the Markdown engine as a code span, whose first character says what it was, and becomes
MathML, or again what it was where the engine shows it as code, in the HTML that comes back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape

# Longer, or deeper, is no formula: the converter is Python and works on what anybody wrote.
MAX_CHARS = 2_000
MAX_DEPTH = 30

# Private characters: what opened a formula, by the first character of its code span.
_MARKS = {"$": "\ue100", "$$": "\ue101", "\\(": "\ue102", "\\[": "\ue103"}
_OPENINGS = {mark: opening for opening, mark in _MARKS.items()}
CLOSINGS = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
# A formula whose end has not come yet; a line break in one.
_PENDING, _BREAK = "\ue104", "\ue105"
# A bar, which would end a table's cell.
_BAR = "\ue106"
_PRIVATE = re.compile("[\ue100-\ue106]")

# Where something begins that matters here: code, an escape, a formula; addresses are passed over.
_TOKEN = re.compile(r"`+|\\.|\$\$?|\]\([^()\s]*\)|https?://\S+", re.DOTALL)
_BLANK_LINE = re.compile(r"\n[ \t>]*\n")
_LINE_START = re.compile(r"(?:^|\n)[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*\Z")
_DISPLAY = re.compile(r" {0,3}(\$\$|\\\[)")
# What makes a text between dollars that begins with a digit more than an amount of money.
_SIGNS = re.compile(r"[\\^_{}]")

_PLAIN_BAR = re.compile(r"(?<!\\)\|")
_CODE = re.compile("<code>([\ue100-\ue104])([^<]*)</code>")
_ALONE = re.compile("<p><code>([\ue101\ue103\ue104])([^<]*)</code></p>")
_AGAIN = re.compile("`+([\ue100-\ue104])([^`]*)`+")


def has_formulas(text: str) -> bool:
    """Whether anything in `text` may open a formula."""
    return "$" in text or "\\(" in text or "\\[" in text


def marked(text: str, *, draft: bool = False) -> str:
    """`text` with each formula as a code span; in a draft also one whose end is to come."""
    text = _PRIVATE.sub("\ufffd", text)
    # Of a length that the text itself has nowhere, so that no backtick of its own meets them.
    lengths = {len(run) for run in re.findall("`+", text)}
    ticks = "`" * next(length for length in range(1, len(lengths) + 2) if length not in lengths)
    parts: list[str] = []
    done = position = 0
    limit = -1
    # By length of a run of backticks: up to where no other of that length follows.
    lonely: dict[int, int] = {}
    while token := _TOKEN.search(text, position):
        start, position = token.span()
        if limit < position:
            blank = _BLANK_LINE.search(text, position)
            limit = blank.start() if blank else len(text)
        if token[0][0] == "`":
            position = _code_end(text, start, position, limit, lonely)
        elif token[0] in _MARKS:
            end = formula_end(text, token[0], position, limit)
            if (
                end is None
                and text[start - 1 : start] != "`"
                and draft
                and limit == len(text)
                and is_pending(text, start, token[0])
            ):
                parts += [
                    text[done:start],
                    f"{ticks}{_PENDING}{_one_line(text[start:].rstrip())}{ticks}",
                ]
                done = position = len(text)
            elif end is not None and "`" not in (text[start - 1 : start], text[end : end + 1]):
                content = _one_line(text[position : end - len(CLOSINGS[token[0]])])
                parts += [text[done:start], f"{ticks}{_MARKS[token[0]]}{content}{ticks}"]
                done = position = end
    return "".join([*parts, text[done:]])


def display_end(text: str, start: int) -> int | None:
    """Where the formula ends that a top-level block from `start` on begins with.

    The end of `text` while it may still come; None if there is none.
    """
    opening = _DISPLAY.match(text, text.rfind("\n", 0, start) + 1)
    if opening is None:
        return None
    blank = _BLANK_LINE.search(text, opening.end())
    limit = blank.start() if blank else len(text)
    end = formula_end(text, opening[1], opening.end(), limit)
    if end is None and blank is None and is_pending(text, opening.start(1), opening[1]):
        return len(text)
    return end


def unmarked(html: str) -> str | None:
    """`html` of the engine with each formula as MathML, not sanitised, or as its own source.

    None if the engine has seen no code span somewhere.
    """
    html = _ALONE.sub(lambda match: f'<div class="math-box">{_shown(match)}</div>', html)
    html = _CODE.sub(_shown, html)
    html = _AGAIN.sub(lambda match: escape(_source(match), quote=False), html)
    return None if _PRIVATE.search(html) else html


def _code_end(text: str, start: int, end: int, limit: int, lonely: dict[int, int]) -> int:
    """The end of the code span that the backticks from `start` to `end` open, else `end`."""
    length = end - start
    if lonely.get(length, 0) >= limit:
        return end
    closing = re.compile(rf"(?<!`)`{{{length}}}(?!`)").search(text, end, limit)
    if closing is None:
        lonely[length] = limit
        return end
    return closing.end()


def formula_end(text: str, opening: str, start: int, limit: int) -> int | None:
    """The end of the formula, with its closing, whose content begins at `start`."""
    closing = CLOSINGS[opening]
    limit = min(limit, start + MAX_CHARS)
    if opening == "$":
        line = text.find("\n", start, limit)
        limit = line if line >= 0 else limit
    at = text.find(closing, start, limit)
    content = text[start:at] if at >= 0 else ""
    if not content.strip() or "`" in content:
        return None
    if opening == "$":
        follower = text[at + 1 : at + 2]
        if content != content.strip() or follower.isdigit():
            return None
        if content[0].isdigit() and not _SIGNS.search(content):
            return None
    return at + len(closing)


def is_pending(text: str, start: int, opening: str) -> bool:
    """Whether the formula that begins at `start`, at the start of a line, may still get its end."""
    rest = text[start:]
    return (
        opening in ("$$", "\\[")
        and len(rest) <= MAX_CHARS
        and "`" not in rest
        and _LINE_START.search(text, max(0, start - 100), start) is not None
    )


def _one_line(content: str) -> str:
    return _PLAIN_BAR.sub(_BAR, content.replace("\n", _BREAK))


def _source(match: re.Match[str]) -> str:
    """What was written, from the mark and the escaped content of a code span."""
    content = unescape(match[2]).replace(_BREAK, "\n").replace(_BAR, "|")
    opening = _OPENINGS.get(match[1], "")
    return f"{opening}{content}{CLOSINGS.get(opening, '')}"


def _shown(match: re.Match[str]) -> str:
    content = unescape(match[2]).replace(_BREAK, " ").replace(_BAR, "|")
    html = ""
    if match[1] != _PENDING:
        html = mathml(content.strip(), is_display=match[1] in (_MARKS["$$"], _MARKS["\\["]))
    return html or f'<code class="math-source">{escape(_source(match), quote=False)}</code>'


# Definitions could grow beyond any limit, and the others set attributes.
_REFUSED = re.compile(
    r"\\(?:def|newcommand|renewcommand|newenvironment|DeclareMathOperator|class|style|href)\b"
)
# Environments that the converter does not know, by one that it does.
_ENVIRONMENTS = {"aligned": "align*", "gathered": "matrix"}
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(aligned|gathered)\}")


@lru_cache(maxsize=1024)
def mathml(source: str, *, is_display: bool) -> str:
    """The formula as a MathML element, not sanitised; empty for what cannot be converted."""
    # Imported with the first formula: an idle server does without.
    from latex2mathml.converter import convert

    if _depth(source) > MAX_DEPTH or _REFUSED.search(source):
        return ""
    source = _ENVIRONMENT.sub(_known_environment, source)
    try:
        html = convert(source, display="block" if is_display else "inline")
    except Exception:
        # Whatever it stumbles over: people get to read what the model wrote.
        return ""
    return html.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "", 1)


def _known_environment(match: re.Match[str]) -> str:
    return rf"\{match[1]}{{{_ENVIRONMENTS[match[2]]}}}"


def _depth(source: str) -> int:
    """How deep braces, and what opens like them, are nested."""
    depth = deepest = 0
    for token in re.findall(r"\\(?:left|right|begin|end)\b|\\.|[{}^_]", source):
        if token in ("{", "\\left", "\\begin", "^", "_"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in ("}", "\\right", "\\end"):
            depth -= 1
    return deepest

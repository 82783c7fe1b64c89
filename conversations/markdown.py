"""Markdown to safe HTML: at once, and block by block while an answer grows.

Raw HTML is shown as text, images become links, and everything passes nh3 last, also what is only
half there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape, unescape
from urllib.parse import urlsplit

from streaming.incremental import Block, IncrementalDocument, Verbatim

from .engines import Engine, default_engine
from .formulas import display_end, has_formulas, marked, unmarked
from .highlight import highlight
from .sanitising import LANGUAGE, LINK, sanitised
from .unfinished import is_read, settled

# Deeper quotes are text: the sanitiser's cost grows with the square of the depth.
MAX_QUOTE_DEPTH = 500
_DEEP_QUOTE = re.compile(rf"^((?:[ \t]*>){{{MAX_QUOTE_DEPTH}}}[ \t]*)(?=>)", re.MULTILINE)
# A label may hold escaped brackets, never plain ones, and at most 999 characters.
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.){1,999})\]", re.DOTALL)
# A line break inside a label, with the marks of quotes it stands in.
_LABEL_BREAK = re.compile(r"\n[\s>]*")
_BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")
_FENCE = re.compile(r"(`{3,}|~{3,})[^\n]*\n")


class Markdown:
    """The chat's renderer: `streaming.rendering.Renderer` and `streaming.incremental.Markup`."""

    def __init__(self, make_engine: Callable[[], Engine] = default_engine) -> None:
        self._make_engine = make_engine

    @cached_property
    def _engine(self) -> Engine:
        return self._make_engine()

    @cached_property
    def version(self) -> str:
        return f"markdown-3-{self._engine.version}"

    def live(self, text: str = "") -> IncrementalDocument:
        """A document that starts with `text` and grows."""
        return IncrementalDocument(self, text)

    def render(
        self, text: str, definitions: Mapping[str, str] | None = None, *, draft: bool = False
    ) -> str:
        """Safe HTML of `text`, under link definitions made before it.

        A draft has no colours, and of its end only what is decided.
        """
        text, closing = settled(text) if draft else (text, "")
        if definitions and "[" in text:
            used = [definitions[label] for label in self.labels(text) if label in definitions]
            if used:
                text = "".join(used) + "\n" + text
        if text.count(">") > MAX_QUOTE_DEPTH:
            text = _DEEP_QUOTE.sub(r"\1\\", text)
        html = self._html(text + closing, draft=draft)
        if closing and is_read(html, closing, text):
            html = self._html(text, draft=draft)
        html = _CODE_BLOCK.sub(_draft_code_block if draft else _code_block, html)
        return sanitised(_with_hosts(_without_images(_with_table_boxes(html))))

    def _html(self, text: str, *, draft: bool) -> str:
        """What the engine makes of `text`, and of the formulas in it."""
        html = (
            unmarked(self._engine.html(marked(text, draft=draft))) if has_formulas(text) else None
        )
        return self._engine.html(text) if html is None else html

    def blocks(self, text: str) -> list[Block]:
        """The top-level blocks of complete lines."""
        blocks: list[Block] = []
        # What stands between the marks of a formula is none, whatever it looks like.
        formula_end = 0
        for start, end, fence in self._engine.blocks(text):
            end = _line_end(text, end)
            if start < formula_end:
                end = max(_without_blank_lines(text, end), blocks[-1].end)
                blocks[-1] = Block(blocks[-1].start, end)
                continue
            if not fence and has_formulas(text):
                formula_end = display_end(text, start) or 0
            verbatim = _verbatim(text, start) if fence else None
            # Blank lines are part of a fence that was left open inside a list.
            end = end if verbatim else _without_blank_lines(text, end)
            blocks.append(Block(start, end, verbatim))
        return blocks

    def definitions(self, text: str) -> dict[str, str]:
        """Normalised label to the definition written anew, in order of `text`."""
        if "]:" not in text:
            return {}
        return {
            _normalised(label): _definition(label, destination, title)
            for label, destination, title in self._engine.definitions(text)
        }

    def labels(self, text: str) -> set[str]:
        """All labels that `text` may refer to, normalised."""
        return {_normalised(label) for label in _LABEL.findall(text)} if "[" in text else set()


def _normalised(label: str) -> str:
    """CommonMark 6.3: labels match by Unicode case fold, with runs of white space as one."""
    return " ".join(_LABEL_BREAK.sub(" ", label).split()).casefold()


def _definition(label: str, destination: str, title: str) -> str:
    label = " ".join(label.split())
    suffix = f' "{_escaped(title)}"' if title else ""
    return f"[{label}]: <{_escaped(destination)}>{suffix}\n"


def _escaped(value: str) -> str:
    return re.sub(r'([\\<>&"])', r"\\\1", value).replace("\n", "&#10;")


def _line_end(text: str, end: int) -> int:
    """The end of the last line before `end` that is not blank."""
    while end and text[end - 1] in " \t\n":
        end -= 1
    return text.find("\n", end) + 1 or len(text)


def _without_blank_lines(text: str, start: int) -> int:
    """The start of the first line from `start` that is not blank, or not complete."""
    blank = _BLANK_LINES.match(text, start)
    return blank.end() if blank else start


def _verbatim(text: str, start: int) -> Verbatim | None:
    """How the fence at `start` ends; None if it is indented, so that its lines change."""
    fence = _FENCE.match(text, start)
    if not fence or text[start - 1 : start] not in ("", "\n"):
        return None
    mark, length = re.escape(fence[1][0]), len(fence[1])
    return Verbatim(
        closing=re.compile(rf" {{0,3}}{mark}{{{length},}}[ \t]*"),
        undecided=re.compile(rf" {{0,3}}{mark}*[ \t]*"),
    )


# What the engines write themselves; raw HTML in the text is escaped, so it cannot look like it.
_CODE_BLOCK = re.compile(r'<pre><code(?: class="language-([^"]*)")?>(.*?)</code></pre>', re.DOTALL)
_IMAGE_OR_LINK = re.compile(r"<a [^>]*>|</a>|<img ([^>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def _code_block(match: re.Match[str]) -> str:
    language = unescape(match[1] or "")
    return _code_box(language, highlight(unescape(match[2]), language.lower()))


def _draft_code_block(match: re.Match[str]) -> str:
    return _code_box(unescape(match[1] or ""), match[2])


def _code_box(language: str, code: str) -> str:
    """A code block with its head; the head stays empty for the page's own buttons."""
    known = f' class="language-{language}"' if LANGUAGE.fullmatch(language) else ""
    label = escape(language[:32])
    return (
        f'<div class="code-block"><div class="code-head"><span class="code-language">{label}</span>'
        f'</div><pre tabindex="0"><code{known}>{code}</code></pre></div>'
    )


def _with_table_boxes(html: str) -> str:
    if "<table>" not in html:
        return html
    # markdown-it aligns by inline style, which the page's policy forbids.
    html = re.sub(r'(<t[hd]) style="text-align:(\w+)"', r'\1 align="\2"', html)
    html = html.replace("<table>", '<div class="table-scroll" tabindex="0"><table>')
    return html.replace("</table>", "</table></div>")


def _without_images(html: str) -> str:
    """An image is a link to it, or its text where a link would not do: nothing loads by itself."""
    if "<img " not in html:
        return html
    inside_link = False

    def replace(match: re.Match[str]) -> str:
        nonlocal inside_link
        if match[1] is None:
            inside_link = match[0] != "</a>"
            return match[0]
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        source, text = attributes.get("src", ""), attributes.get("alt", "")
        if inside_link or not LINK.match(source):
            return text
        return f'<a href="{source}">{text or source}</a>'

    return _IMAGE_OR_LINK.sub(replace, html)


_ANCHOR = re.compile(r'<a href="([^"]*)"([^>]*)>(.*?)</a>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def _with_hosts(html: str) -> str:
    """Behind each link the host that it leads to, unless its text says so; else no link."""
    return _ANCHOR.sub(_with_host, html) if "<a href" in html else html


def _with_host(match: re.Match[str]) -> str:
    if not match[1]:
        # Its address is still to come, or there is none.
        return match[3]
    host = _host_of(unescape(match[1]))
    if not host or host in unescape(_TAG.sub("", match[3])).casefold():
        return match[0]
    shown = escape(host.removeprefix("www."))
    return f'<a href="{match[1]}"{match[2]}>{match[3]}<span class="link-host"> {shown}</span></a>'


def _host_of(address: str) -> str:
    """The host of a web address, in the letters that are looked up; else empty."""
    if not address.lower().startswith(("http://", "https://")):
        return ""
    try:
        host = urlsplit(address).hostname or ""
        return host.encode("idna").decode() if not host.isascii() else host
    except ValueError:
        return ""


renderer = Markdown()

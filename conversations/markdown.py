"""Markdown to safe HTML: at once, and block by block while an answer grows.

Raw HTML is shown as text, images become links, and everything passes nh3 last, also what is only
half there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape, unescape
from typing import Any, Protocol

import nh3

from streaming.incremental import Block, IncrementalDocument, Verbatim

from .highlight import CLASSES, highlight


class Engine(Protocol):
    """A CommonMark parser with tables, strikethrough, task lists and autolinks."""

    version: str

    def html(self, text: str) -> str:
        """HTML with raw HTML escaped; not sanitised."""
        ...

    def blocks(self, text: str) -> list[tuple[int, int, bool]]:
        """(start, end, is a fenced code block) of each top-level block, in code points.

        The end may or may not include the last line feed and blank lines that follow.
        """
        ...

    def definitions(self, text: str) -> list[tuple[str, str, str]]:
        """(label, destination, title) of each link definition, the first of a label only."""
        ...


class RustEngine:
    """comrak renders; pyromark scans, since it knows exactly where blocks and definitions are."""

    version = "rust-1"

    def __init__(self) -> None:
        import comrak
        import pyromark

        extensions = comrak.ExtensionOptions()
        extensions.autolink = extensions.strikethrough = True
        extensions.table = extensions.tasklist = True
        options = comrak.RenderOptions()
        options.escape = options.tasklist_classes = True
        self._render = lambda text: comrak.render_markdown(text, extensions, None, options)
        self._scanner = pyromark.Markdown(options=pyromark.Options.ENABLE_TABLES)

    def html(self, text: str) -> str:
        if "]:" in text:
            # comrak resolves references only until what they expand to is as long as the text;
            # a blank line in front gives a short text the 100,000 characters that cmark allows.
            text = " " * min(100_000, text.count("[") * len(text)) + "\n" + text
        return self._render(text)

    def blocks(self, text: str) -> list[tuple[int, int, bool]]:
        spans: list[tuple[int, int, bool]] = []
        end = 0
        for event, span in self._scanner.events_with_range(text):
            # Events inside a block start before its end; cells that a table's last row lacks are
            # empty and stand at it.
            if end <= span["start"] < span["end"]:
                end = span["end"]
                spans.append((span["start"], end, _is_fence(event)))
        return spans if text.isascii() else _in_code_points(text, spans)

    def definitions(self, text: str) -> list[tuple[str, str, str]]:
        found = self._scanner.reference_definitions(text)
        return [(label, link["dest"], link["title"] or "") for label, link in found.items()]


def _is_fence(event: Any) -> bool:
    """Whether a pyromark event starts a fenced code block."""
    start = event.get("Start") if isinstance(event, dict) else None
    code = start.get("CodeBlock") if isinstance(start, dict) else None
    return isinstance(code, dict)


def _in_code_points(text: str, spans: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """The same spans with offsets in code points instead of UTF-8 bytes."""
    data = text.encode()
    converted = []
    byte = point = 0
    for start, end, fence in spans:
        first = point + len(data[byte:start].decode())
        point = first + len(data[start:end].decode())
        byte = end
        converted.append((first, point, fence))
    return converted


class PythonEngine:
    """markdown-it-py: for machines without the Rust wheels, and the oracle of the tests."""

    version = "python-1"

    def __init__(self) -> None:
        from markdown_it import MarkdownIt
        from mdit_py_plugins.tasklists import tasklists_plugin

        self._parser = MarkdownIt("commonmark", {"html": False, "linkify": True})
        self._parser.enable(["table", "strikethrough", "linkify"]).use(tasklists_plugin)
        self._scanner = MarkdownIt("commonmark", {"html": False})
        self._scanner.enable("table").disable("inline")

    def html(self, text: str) -> str:
        return self._parser.render(text)

    def blocks(self, text: str) -> list[tuple[int, int, bool]]:
        lines = [0]
        lines.extend(match.end() for match in re.finditer("\n", text))
        lines.append(len(text))
        return [
            (lines[token.map[0]], lines[token.map[1]], token.type == "fence")
            for token in self._scanner.parse(text)
            if token.level == 0 and token.map and token.nesting >= 0
        ]

    def definitions(self, text: str) -> list[tuple[str, str, str]]:
        env: dict[str, Any] = {}
        self._scanner.parse(text, env)
        found = env.get("references", {})
        return [(label, link["href"], link["title"]) for label, link in found.items()]


def default_engine() -> Engine:
    try:
        return RustEngine()
    except ImportError:
        return PythonEngine()


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
        return f"markdown-1-{self._engine.version}"

    def live(self, text: str = "") -> IncrementalDocument:
        """A document that starts with `text` and grows."""
        return IncrementalDocument(self, text)

    def render(
        self, text: str, definitions: Mapping[str, str] | None = None, *, draft: bool = False
    ) -> str:
        """Safe HTML of `text`, under link definitions made before it; a draft has no colours."""
        if definitions and "[" in text:
            used = [definitions[label] for label in self.labels(text) if label in definitions]
            if used:
                text = "".join(used) + "\n" + text
        if text.count(">") > MAX_QUOTE_DEPTH:
            text = _DEEP_QUOTE.sub(r"\1\\", text)
        html = self._engine.html(text)
        html = _CODE_BLOCK.sub(_draft_code_block if draft else _code_block, html)
        return _CLEANER.clean(_without_images(_with_table_boxes(html)))

    def blocks(self, text: str) -> list[Block]:
        """The top-level blocks of complete lines."""
        blocks = []
        for start, end, fence in self._engine.blocks(text):
            end = _line_end(text, end)
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
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_LANGUAGE = re.compile(r"[\w+#.-]{1,32}", re.ASCII)


def _code_block(match: re.Match[str]) -> str:
    language = unescape(match[1] or "")
    return _code_box(language, highlight(unescape(match[2]), language.lower()))


def _draft_code_block(match: re.Match[str]) -> str:
    return _code_box(unescape(match[1] or ""), match[2])


def _code_box(language: str, code: str) -> str:
    """A code block with its head; the head stays empty for the page's own buttons."""
    known = f' class="language-{language}"' if _LANGUAGE.fullmatch(language) else ""
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
        if inside_link or not _LINK.match(source):
            return text
        return f'<a href="{source}">{text or source}</a>'

    return _IMAGE_OR_LINK.sub(replace, html)


_CLASS_NAMES = CLASSES | {
    "code-block",
    "code-head",
    "code-language",
    "table-scroll",
    "contains-task-list",
    "task-list-item",
    "task-list-item-checkbox",
}


def _allowed_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return value if value in _CLASS_NAMES or _is_language_class(value) else None
    if name == "href":
        return value if _LINK.match(value) else None
    return value


def _is_language_class(value: str) -> bool:
    prefix, dash, language = value.partition("-")
    return prefix == "language" and bool(dash and _LANGUAGE.fullmatch(language))


_CLEANER = nh3.Cleaner(
    tags={
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "div", "pre"),
        *("a", "code", "del", "em", "s", "span", "strong"),
        *("ul", "ol", "li", "input"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    },
    clean_content_tags={"script", "style"},
    attributes={
        "a": {"href", "title"},
        "code": {"class"},
        "div": {"class"},
        "input": {"checked", "class"},
        "li": {"class"},
        "ol": {"start"},
        "span": {"class"},
        "ul": {"class"},
    },
    tag_attribute_values={
        "div": {"tabindex": {"0"}},
        "pre": {"tabindex": {"0"}},
        "td": {"align": {"left", "center", "right"}},
        "th": {"align": {"left", "center", "right"}},
    },
    # The only inputs are task marks.
    set_tag_attribute_values={
        "input": {"type": "checkbox", "disabled": "", "aria-label": "Task"},
    },
    attribute_filter=_allowed_attribute,
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
)

renderer = Markdown()

"""The Markdown parsers: two Rust ones together, and a Python one that is also the tests' oracle."""

from __future__ import annotations

import re
from typing import Any, Protocol


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

    version = "rust-2"

    def __init__(self) -> None:
        import comrak
        import pyromark

        extensions = comrak.ExtensionOptions()
        extensions.autolink = extensions.strikethrough = True
        extensions.table = extensions.tasklist = True
        # Else marks beside a bracket or a quotation mark stay characters where no space follows.
        extensions.cjk_friendly_emphasis = True
        options = comrak.RenderOptions()
        options.escape = options.tasklist_classes = True
        # Else single tildes strike out what stands between them, which "3~5, 10~20" does not mean.
        extensions.subscript = True
        self._render = lambda text: comrak.render_markdown(text, extensions, None, options)
        self._scanner = pyromark.Markdown(options=pyromark.Options.ENABLE_TABLES)

    def html(self, text: str) -> str:
        if "]:" in text:
            # comrak resolves references only until what they expand to is as long as the text;
            # a blank line in front gives a short text the 100,000 characters that cmark allows.
            text = " " * min(100_000, text.count("[") * len(text)) + "\n" + text
        # Raw HTML is escaped: these are the single tildes.
        return self._render(text).replace("<sub>", "~").replace("</sub>", "~")

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

"""What HTML of a model's Markdown may reach a page: the second wall, behind the escaping engine."""

from __future__ import annotations

import re

import nh3

from .highlight import CLASSES

LANGUAGE = re.compile(r"[\w+#.-]{1,32}", re.ASCII)
LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
# Presentation MathML as `latex2mathml` writes it: nothing that links, loads or takes a style.
MATHML = {
    *("math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot"),
    *("mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext"),
    *("mtr", "munder", "munderover"),
}
MATHML_ATTRIBUTES = {
    *("accent", "accentunder", "columnalign", "columnspacing", "columnspan", "depth"),
    *("displaystyle", "fence", "form", "height", "largeop", "linebreak", "linethickness"),
    *("lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowspacing"),
    *("rspace", "scriptlevel", "separator", "stretchy", "symmetric", "voffset", "width"),
}
_CLASS_NAMES = CLASSES | {
    "code-block",
    "code-head",
    "code-language",
    "link-host",
    "math-box",
    "math-source",
    "table-scroll",
    "contains-task-list",
    "task-list-item",
    "task-list-item-checkbox",
}


def _allowed_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return value if value in _CLASS_NAMES or _is_language_class(value) else None
    if name == "href":
        return value if LINK.match(value) else None
    return value


def _is_language_class(value: str) -> bool:
    prefix, dash, language = value.partition("-")
    return prefix == "language" and bool(dash and LANGUAGE.fullmatch(language))


_cleaner = nh3.Cleaner(
    tags={
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "div", "pre"),
        *("a", "code", "del", "em", "s", "span", "strong"),
        *("ul", "ol", "li", "input"),
        *("table", "thead", "tbody", "tr", "th", "td"),
        *MATHML,
    },
    clean_content_tags={"script", "style"},
    attributes={
        **dict.fromkeys(MATHML, MATHML_ATTRIBUTES),
        "math": {"display"},
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


def sanitised(html: str) -> str:
    """`html` without anything that is not allowed."""
    return _cleaner.clean(html)

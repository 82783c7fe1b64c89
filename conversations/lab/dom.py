"""A small document for the lab's tabs: parsed HTML, and htmx's out-of-band swaps on it.

Only what our own pages and fragments use: their HTML closes what it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"]
)
OUT_OF_BAND = "hx-swap-oob"


@dataclass(eq=False)
class Element:
    """An element, or with an empty tag a fragment; children are elements and texts."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)
    parent: Element | None = None
    # Asked for at each frame; forgotten here and above when something within changes.
    _text: str | None = field(default=None, repr=False)
    # Where elements were found before; they may have gone.
    _found: dict[str, Element] = field(default_factory=dict, repr=False)

    def append(self, children: list[Element | str], at: int | None = None) -> None:
        """Insert `children` at an index, or last."""
        for child in children:
            if isinstance(child, Element):
                child.parent = self
        at = len(self.children) if at is None else at
        self.children[at:at] = children
        changed: Element | None = self
        while changed is not None and changed._text is not None:
            changed._text, changed = None, changed.parent

    def replace(self, children: list[Element | str]) -> None:
        for child in self.children:
            if isinstance(child, Element):
                child.parent = None
        self.children = []
        self.append(children)

    def elements(self) -> Iterator[Element]:
        """All elements within, in the document's order."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.elements()

    def with_attribute(self, name: str) -> list[Element]:
        return [element for element in self.elements() if name in element.attributes]

    def find(self, element_id: str) -> Element | None:
        """The element of that id within; what is near the top is found before long texts."""
        known = self._found.get(element_id)
        if known is not None and known.is_within(self):
            return known
        level = [self]
        while level:
            level = [one for up in level for one in up.children if isinstance(one, Element)]
            for one in level:
                if one.get("id") == element_id:
                    self._found[element_id] = one
                    return one
        return None

    def is_within(self, document: Element) -> bool:
        up = self.parent
        while up is not None and up is not document:
            up = up.parent
        return up is document

    def get(self, name: str) -> str:
        """An attribute's value; empty without it."""
        return self.attributes.get(name, "")

    def text(self) -> str:
        if self._text is None:
            self._text = "".join(
                child if isinstance(child, str) else child.text() for child in self.children
            )
        return self._text

    def html(self) -> str:
        """The inner HTML in one canonical form: attributes sorted, texts escaped alike."""
        return "".join(
            escape(child, quote=False) if isinstance(child, str) else child.outer_html()
            for child in self.children
        )

    def outer_html(self) -> str:
        attributes = "".join(
            f' {name}="{escape(value)}"' for name, value in sorted(self.attributes.items())
        )
        if self.tag in VOID:
            return f"<{self.tag}{attributes}>"
        return f"<{self.tag}{attributes}>{self.html()}</{self.tag}>"

    def put(self, children: list[Element | str]) -> None:
        """Put `children` in the place of this element."""
        assert self.parent is not None
        parent, at = self.parent, self._place()
        del parent.children[at]
        self.parent = None
        parent.append(children, at)

    def put_before(self, children: list[Element | str]) -> None:
        assert self.parent is not None
        self.parent.append(children, self._place())

    def _place(self) -> int:
        assert self.parent is not None
        return next(at for at, child in enumerate(self.parent.children) if child is self)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.current = Element("")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.current.append([element])
        if tag not in VOID:
            self.current = element

    def handle_endtag(self, tag: str) -> None:
        element: Element | None = self.current
        while element is not None and element.tag != tag:
            element = element.parent
        if element is not None and element.parent is not None:
            self.current = element.parent

    def handle_data(self, data: str) -> None:
        self.current.append([data])


def parse(html: str) -> Element:
    """A fragment that holds what `html` says."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    return builder.root


def swap(document: Element, html: str) -> list[Element | str]:
    """Apply the out-of-band fragments of `html` as htmx does; what is not one is returned.

    Raises LookupError when a fragment's target is not in the document.
    """
    rest: list[Element | str] = []
    for child in list(parse(html).children):
        if isinstance(child, Element) and OUT_OF_BAND in child.attributes:
            _swap_one(document, child)
        else:
            rest.append(child)
    return rest


def _swap_one(document: Element, fragment: Element) -> None:
    how, _, selector = fragment.attributes.pop(OUT_OF_BAND).partition(":")
    target = _select(document, selector or f"#{fragment.get('id')}")
    if how in ("true", "outerHTML"):
        target.put([fragment] if how == "true" else fragment.children)
    elif how == "innerHTML":
        target.replace(fragment.children)
    elif how == "beforebegin":
        target.put_before(fragment.children)
    elif how == "beforeend":
        target.append(fragment.children)
    elif how == "delete":
        target.put([])
    else:
        raise LookupError(f"The lab knows no swap {how!r}.")


def _select(document: Element, selector: str) -> Element:
    """The element of `#id`, or the only element of a tag within it (`#id code`)."""
    element_id, _, tag = selector.removeprefix("#").partition(" ")
    found = document.find(element_id)
    if found is not None and tag:
        found = next((one for one in found.elements() if one.tag == tag), None)
    if found is None:
        raise LookupError(f"The page has no {selector}.")
    return found


def words(text: str) -> str:
    """`text` with its white space folded, to compare what two documents show."""
    return " ".join(text.split())

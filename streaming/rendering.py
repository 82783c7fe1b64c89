"""From text to safe HTML, all at once and while it grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Renderer(Protocol):
    """What turns text into safe HTML. Stateless; one instance serves all streams."""

    # Changes whenever the HTML for a given text may change; part of each page's render key.
    version: str

    def render(self, text: str) -> str:
        """The safe HTML of the whole `text`."""
        ...

    def live(self, text: str = "") -> LiveDocument:
        """A document that starts with `text` and grows."""
        ...


@dataclass(frozen=True, slots=True)
class Delta:
    """What changes in a page whose body stood at the document's previous state."""

    # Replace the whole body: `closed` is then all closed blocks, `open` the open one.
    full: bool
    # HTML to put before the open block.
    closed: str
    # HTML of the open block; None leaves it as it is.
    open: str | None
    # HTML to append inside the open block's only <code> element (an open fence's new lines).
    code: str = ""


class LiveDocument(Protocol):
    """HTML of a growing text: closed blocks, which never change, and one open block."""

    # Hash of the renderer's version and of the definitions in force: pages of another key reload.
    key: str
    # Offset (code points) where the closed blocks end.
    cut: int
    # Offset (code points) of the text fed so far.
    end: int
    # Characters of text in the open block.
    open_size: int
    # HTML of all closed blocks, and of the open one.
    closed_html: str
    open_html: str

    def feed(self, text: str) -> Delta:
        """Take more text in; return what changes in a page that was in step."""
        ...

    def finish(self) -> Delta:
        """Close the document; full when the pieces differ from the one-shot HTML."""
        ...

    def since(self, cut: int, key: str) -> Delta:
        """What a page needs whose closed blocks end at `cut`: full when it cannot be told."""
        ...

"""What a tab shows: reads the site's pages and frames as its script and htmx do, without a DOM."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

from .texts import MARK, clock, milliseconds_since

FRAGMENT = re.compile(r'<div hx-swap-oob="([a-zA-Z]+):([^"]+)">')
BEGUN_MARK = re.compile(r"m\d{0,6}(?:t\d{0,8})?\Z")
DIV_END = len("</div>")


def attribute(tag: str, name: str) -> str:
    """The value of an attribute of a start tag; empty without it."""
    found = re.search(rf'\s{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def tags_with(page: str, name: str) -> list[str]:
    """The start tags that have the attribute `name`."""
    return re.findall(rf'<[a-z][^>]*\s{name}="[^>]*>', page)


@dataclass(frozen=True)
class Form:
    """The composer: where it is sent, and its hidden fields."""

    action: str
    fields: dict[str, str]


def composer_of(page: str) -> Form:
    """The page's composer. Raises ValueError when there is none."""
    for tag in tags_with(page, "hx-post"):
        if attribute(tag, "id") == "composer":
            inputs = [tag for tag in tags_with(page, "name") if attribute(tag, "type") == "hidden"]
            return Form(
                action=attribute(tag, "hx-post"),
                fields={attribute(tag, "name"): attribute(tag, "value") for tag in inputs},
            )
    raise ValueError("The page has no composer.")


def topics_of(page: str) -> dict[str, tuple[int, str]]:
    """What the page watches: topic -> (version, URL of what changed)."""
    return {
        attribute(tag, "data-topic"): (
            int(attribute(tag, "data-version")),
            attribute(tag, "hx-get"),
        )
        for tag in tags_with(page, "data-topic")
    }


@dataclass
class Shown:
    """The text of one stream in one tab, and what was seen of its time marks."""

    stream: str
    cut: int
    key: str
    closed: list[str]
    open: str
    # Marks in the closed blocks, in the open one, and all that ever appeared.
    closed_marks: int = 0
    open_marks: int = 0
    seen: int = 0
    # When the newest frame came.
    now: int = 0
    # From a token's sending to its first appearance, milliseconds.
    latencies: list[float] = field(default_factory=list)
    # What was not as it must be: a frame that does not continue, a mark out of its order.
    errors: list[str] = field(default_factory=list)
    status: str = ""

    @classmethod
    def in_page(cls, page: str) -> Shown:
        """The open stream that a page, or an answer to a form, holds. Raises ValueError."""
        tags = tags_with(page, "data-stream")
        if len(tags) != 1:
            raise ValueError(f"One running answer was expected, the page has {len(tags)}.")
        stream = attribute(tags[0], "data-stream")
        body = page[page.index(tags[0]) + len(tags[0]) :].partition(
            f'<div id="stream-{stream}-foot"'
        )
        shown = cls(
            stream, int(attribute(tags[0], "data-cut")), attribute(tags[0], "data-key"), [], ""
        )
        inner = body[0][body[0].index(">") + 1 :]
        shown.now = clock()
        shown._replace_body(inner[: inner.rindex("</div>")])
        return shown

    def apply(self, header: dict[str, Any], fragments: str, now: int) -> None:
        """Apply a frame of this stream that came at `now` (see `texts.clock`)."""
        self.now = now
        if not header["full"] and header["from"] != self.cut:
            self.errors.append(f"a frame goes on from {header['from']}, the page is at {self.cut}")
        parts = FRAGMENT.split(fragments)
        for how, target, content in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            self._swap(how, target.removeprefix(f"#stream-{self.stream}-"), content[:-DIV_END])
        self.cut, self.key = header["cut"], header["key"]
        self.status = header.get("status", "")

    def html(self) -> str:
        """The body as it stands."""
        return "".join(self.closed) + self.open

    def _swap(self, how: str, target: str, content: str) -> None:
        if (how, target) == ("innerHTML", "body"):
            self._replace_body(content)
        elif (how, target) == ("beforebegin", "open"):
            self.closed.append(content)
            # What was open until now moves in here; the open block comes with the same frame.
            self.closed_marks += self._look(content, self.closed_marks)
        elif (how, target) == ("innerHTML", "open"):
            self.open = content
            self.open_marks = self._look(content, self.closed_marks)
        elif (how, target) == ("beforeend", "open code"):
            before, end, after = self.open.rpartition("</code>")
            self.open = before + content + end + after
            # A mark may begin at the end of what stands there.
            begun = BEGUN_MARK.search(before[-20:])
            rest = (begun[0] if begun and not MARK.fullmatch(begun[0]) else "") + content
            self.open_marks += self._look(rest, self.closed_marks + self.open_marks)
        elif target != "foot":
            self.errors.append(f"an unknown fragment: {how} {target}")

    def _replace_body(self, inner: str) -> None:
        start = f'<div id="stream-{self.stream}-open" class="stream-open">'
        closed, _, rest = inner.partition(start)
        self.closed, self.open = [closed], rest[: rest.rindex("</div>")]
        self.closed_marks = self._look(closed, 0)
        self.open_marks = self._look(self.open, self.closed_marks)

    def _look(self, content: str, first: int) -> int:
        """Read the marks of `content`, which must be the ones from `first` on; their number."""
        marks = MARK.findall(content)
        for expected, (number, sent) in enumerate(marks, start=first):
            if int(number) != expected:
                self.errors.append(f"mark {int(number)} stands where {expected} was expected")
            if int(number) >= self.seen:
                self.latencies.append(milliseconds_since(int(sent), self.now))
                self.seen = int(number) + 1
        return len(marks)


def parse_frame(message: str) -> tuple[dict[str, Any], str]:
    """Header and fragments of a message of the socket."""
    header, _, fragments = message.removeprefix("<!--").partition("-->")
    return json.loads(header), fragments


def plain_text(body: str) -> str:
    """The words of some HTML with single spaces between them, to compare two renderings."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())

"""A frame: a header comment and HTML fragments for htmx's out-of-band swap; see docs/design.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.html import escape

from .models import Stream
from .rendering import Delta, wire_size


@dataclass(frozen=True, slots=True)
class Frame:
    """What all sockets that are in step get alike; each adds its generation and frame number."""

    header: str
    html: str
    # Of its stream: no frame follows it.
    is_last: bool
    # Bytes on the wire, but for the numbers that each socket adds.
    size: int

    def text(self, generation: int, number: int) -> str:
        return f'<!--{{"g":{generation},"n":{number},{self.header}}}-->{self.html}'


LAST = ("end", "gone")


def frame(kind: str, html: str = "", **header: Any) -> Frame:
    """A frame of kind `t`; header values are numbers, booleans, ids and hashes, never text."""
    encoded = json.dumps({"t": kind, **header}, separators=(",", ":"))[1:-1]
    size = len(encoded) + wire_size(html)
    return Frame(encoded, html, is_last=kind in LAST, size=size)


def stream_frame(
    stream_id: UUID,
    delta: Delta,
    *,
    start: int,
    cut: int,
    end: int,
    key: str,
    ended: Stream | None = None,
    foot: str = "",
    note: str | None = None,
) -> Frame:
    """What a page at `start` applies to stand at `cut`; with the `ended` row the end frame.

    `note` and `foot` replace what stands under the text; an empty note takes one away.
    """
    header: dict[str, Any] = {
        "s": str(stream_id),
        "full": delta.full,
        "from": start,
        "cut": cut,
        "end": end,
        "key": key,
    }
    if ended is not None:
        header |= {"status": ended.status, "topics": dict(ended.topics)}
    html = fragments(stream_id, delta)
    if note is not None:
        html += f'<div hx-swap-oob="innerHTML:#stream-{stream_id}-note">{escape(note)}</div>'
    if foot:
        html += f'<div hx-swap-oob="innerHTML:#stream-{stream_id}-foot">{foot}</div>'
    return frame("frame" if ended is None else "end", html, **header)


def fragments(stream_id: UUID, delta: Delta) -> str:
    """The out-of-band fragments of a delta."""
    target = f"#stream-{stream_id}"
    if delta.full:
        inner = body(stream_id, delta.closed, delta.open or "")
        return f'<div hx-swap-oob="innerHTML:{target}-body">{inner}</div>'
    html = ""
    if delta.closed:
        html += f'<div hx-swap-oob="beforebegin:{target}-open">{delta.closed}</div>'
    if delta.open is not None:
        html += f'<div hx-swap-oob="innerHTML:{target}-open">{delta.open}</div>'
    if delta.code:
        html += f'<div hx-swap-oob="beforeend:{target}-open code">{delta.code}</div>'
    return html


def body(stream_id: UUID, closed: str, open_html: str) -> str:
    """The inner HTML of a stream's body: closed blocks, then the open one in its element."""
    return f'{closed}<div id="stream-{stream_id}-open" class="stream-open">{open_html}</div>'


BEAT = frame("beat")


def topic_frame(topic: str, version: int) -> Frame:
    return frame("topic", topic=topic, version=version)


def gone_frame(stream_id: str) -> Frame:
    return frame("gone", s=stream_id)

"""`{% stream stream %}` and, once per page, `{% streaming_page %}`."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.safestring import mark_safe

from streaming import access
from streaming.frames import body
from streaming.generators import get_generator
from streaming.models import Stream
from streaming.reader import text_of
from streaming.tails import render_foot

register = template.Library()

# Where `streaming.routing` puts the socket; a project that mounts it elsewhere serves both.
SOCKET_PATH = "/ws/streaming/"


@register.inclusion_tag("streaming/_stream.html", takes_context=True)
def stream(context: template.Context, stream: Stream, text: str | None = None) -> dict[str, Any]:
    """What is stored of a stream stands here at once; the rest arrives live while it is open.

    `text` spares the query where the caller has the whole text. Who may not read it sees nothing.
    """
    user = getattr(context.get("request"), "user", None)
    if user is not None and not access.may_read(user, stream):
        return {"stream": None}
    if text is None:
        # The row may be older than the chunks; both only grow, and the page follows from here.
        text = text_of(stream) if stream.length else ""
    document = get_generator(stream.generator).renderer.live(text)
    if not stream.is_open:
        document.finish()
    return {
        "stream": stream,
        "document": document,
        "body": mark_safe(body(stream.pk, document.closed_html, document.open_html)),
        "foot": mark_safe(render_foot(stream, csrf_token=context.get("csrf_token"))),
    }


@register.inclusion_tag("streaming/_page.html", takes_context=True)
def streaming_page(context: template.Context) -> dict[str, Any]:
    """The assets and the one socket of a page; put it once, at the end of the body."""
    user = getattr(context.get("request"), "user", None)
    return {
        "csp_nonce": context.get("csp_nonce", ""),
        "socket_path": SOCKET_PATH,
        "is_live": user is None or user.is_authenticated,
    }

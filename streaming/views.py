"""The HTTP surface of a stream: start it, read it, stop it.

Readers speak the read half of the Durable Streams protocol (durable-streams/durable-streams,
PROTOCOL.md); `POST /chat-stream` is the contract of Convex's persistent-text-streaming.

Who may: see `endpoints`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags, url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from . import access, actions
from .conf import conf
from .endpoints import TEXT, Refused, endpoint, find_stream, parse_id
from .exceptions import BadOffset
from .executors import run_read
from .hub import get_hub
from .models import Stream
from .reader import Batch, follow, read

logger = logging.getLogger(__name__)

OFFSET_DIGITS = 16
BEAT_SECONDS = 10.0
# "Stream-Cursor": the number of the 20 s interval since this moment (PROTOCOL.md, 8.1).
CURSOR_SECONDS = 20
CURSOR_EPOCH = 1_728_432_000  # 2024-10-09 00:00:00 UTC

_LINE_END = re.compile("\r\n|\r|\n")


# --- POST /chat-stream


@endpoint("POST", allow_headers="Content-Type, Digest, Authorization")
async def chat_stream(request: HttpRequest) -> HttpResponseBase:
    """Start the stream that the body's `streamId` names, and send its text while it is generated.

    Of all requests for one stream exactly one gets 200 and the text; the others get 205 and nothing
    and read `GET /streams/<id>`. A client that goes away stops nothing. The body has no time limit:
    cut, it would look complete to clients of this contract.
    """
    stream, is_first = await run_read(_start, request, _posted_id(request))
    if not is_first:
        return HttpResponse(status=205, content_type=TEXT)
    return StreamingHttpResponse(
        _text_of(stream.pk),
        headers={
            "Content-Type": TEXT,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        },
    )


def _posted_id(request: HttpRequest) -> object:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or "streamId" not in body:
        raise Refused(400, 'The body must be JSON like {"streamId": "<id of the stream>"}.')
    return body["streamId"]


def _start(request: HttpRequest, value: object) -> tuple[Stream, bool]:
    stream = find_stream(request, value)
    return stream, actions.start(stream)


async def _text_of(stream_id: UUID) -> AsyncIterator[bytes]:
    # Sends the headers now, not with the first text.
    yield b""
    try:
        async for batch in follow(stream_id):
            yield batch.text.encode()
    except Stream.DoesNotExist:
        return


# --- GET /streams/<id>


@dataclass(frozen=True)
class Query:
    """What a reader asks for, checked."""

    offset: str
    live: str
    cursor: str

    @classmethod
    def of(cls, request: HttpRequest) -> Query:
        """Raises Refused."""
        values = {}
        for name in ("offset", "live", "cursor"):
            given = request.GET.getlist(name)
            if len(given) > 1 or given == [""]:
                raise Refused(400, f"`{name}` must be given once and not be empty.")
            values[name] = given[0] if given else ""
        query = cls(**values)
        if query.live not in ("", "long-poll", "sse"):
            raise Refused(400, "`live` must be long-poll or sse.")
        if query.live and not query.offset:
            raise Refused(400, "A live read needs an `offset`: -1, now, or a Stream-Next-Offset.")
        return query

    def position(self, tail: int) -> int:
        """The offset as a number; `tail` is the stream's length. Raises Refused, BadOffset."""
        if self.offset in ("", "-1"):
            return 0
        if self.offset == "now":
            return tail
        if not re.fullmatch(rf"[0-9]{{{OFFSET_DIGITS}}}", self.offset):
            raise Refused(
                400,
                f"`offset` must be -1, now, or the {OFFSET_DIGITS} digits of a Stream-Next-Offset.",
            )
        return int(self.offset)

    def next_cursor(self) -> str:
        """The current interval's number, or the reader's plus one: it never stands still."""
        current = int(time.time() - CURSOR_EPOCH) // CURSOR_SECONDS
        given = int(self.cursor) if re.fullmatch("[0-9]{1,15}", self.cursor) else -1
        return str(max(current, given + 1))


@endpoint("GET", "HEAD", allow_headers="Authorization, If-None-Match")
async def stream_read(request: HttpRequest, pk: str) -> HttpResponseBase:
    """Read a stream's text from `offset` on: what is stored, or live by `live=long-poll|sse`."""
    stream = await run_read(find_stream, request, pk)
    query = Query.of(request)
    try:
        position = query.position(stream.length)
        if request.method == "HEAD" or (query.offset == "now" and not query.live):
            response: HttpResponseBase = await _tail(stream)
        elif query.live == "sse":
            response = await _sse(stream, query, position)
        elif query.live == "long-poll":
            response = await _long_poll(stream, query, position)
        else:
            response = await _catch_up(request, stream, position)
    except BadOffset as error:
        raise Refused(400, str(error)) from error
    except Stream.DoesNotExist:
        raise Refused(404, "No such stream.") from None
    patch_vary_headers(response, ["Cookie", "Authorization"])
    return response


async def _tail(stream: Stream) -> HttpResponse:
    """Where the stream stands, without text; must not be cached, since it changes."""
    batch = await run_read(read, stream.pk, stream.length)
    batch = replace(batch, start=batch.end, text="")
    return _text_response(batch, **{"Cache-Control": "private, no-store"})


async def _catch_up(request: HttpRequest, stream: Stream, position: int) -> HttpResponse:
    batch = await run_read(read, stream.pk, position)
    etag = _etag(stream, batch)
    response = _text_response(batch, ETag=etag)
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in known or etag in (one.removeprefix("W/") for one in known):
        response.status_code = 304
        response.content = b""
        del response.headers["Content-Type"]
    return response


async def _long_poll(stream: Stream, query: Query, position: int) -> HttpResponse:
    clock = asyncio.get_running_loop().time
    deadline = clock() + conf.LONG_POLL_SECONDS
    hub = get_hub()
    async with hub.subscribe(stream.pk) as subscription:
        while True:
            batch = await subscription.batch(position)
            left = deadline - clock()
            if batch.text or batch.closed or left <= 0 or hub.is_closing:
                break
            await subscription.changed(left)
    headers = {"Stream-Cursor": query.next_cursor()}
    if batch.text:
        return _text_response(batch, ETag=_etag(stream, batch), **headers)
    response = _text_response(batch, **headers, **{"Cache-Control": "private, no-store"})
    response.status_code = 204
    del response.headers["Content-Type"]
    return response


async def _sse(stream: Stream, query: Query, position: int) -> StreamingHttpResponse:
    # Read before the answer begins: a wrong offset is a 400, not a broken stream of events.
    await run_read(read, stream.pk, position)
    return StreamingHttpResponse(
        _events(stream.pk, query, position),
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "private, no-store",
            "X-Accel-Buffering": "no",
        },
    )


async def _events(stream_id: UUID, query: Query, position: int) -> AsyncIterator[bytes]:
    """Server-sent events until the end, or until the limits: then the reader resumes by offset."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + conf.HTTP_LIVE_SECONDS
    sent = 0
    is_new = True
    hub = get_hub()
    async with hub.subscribe(stream_id) as subscription:
        while True:
            try:
                batch = await subscription.batch(position)
            except Stream.DoesNotExist:
                return
            except DatabaseError as error:
                # The reader resumes by offset. Of an answer that fails after it has begun Daphne
                # would leave the connection open, silent for ever.
                logger.warning("Reading stream %s ends: %s", stream_id, type(error).__name__)
                return
            if batch.text or batch.closed or is_new:
                events = _data_event(batch) + _control_event(batch, query)
                yield events
                sent += len(events)
                is_new = False
            position = batch.end
            left = deadline - clock()
            if batch.closed or left <= 0 or sent >= conf.HTTP_LIVE_BYTES or hub.is_closing:
                return
            if not (batch.text and batch.more) and not await subscription.changed(
                min(left, BEAT_SECONDS)
            ):
                # A comment: proxies see life, and we see a reader that is gone.
                yield b":\n\n"


def _data_event(batch: Batch) -> bytes:
    """WHATWG HTML, 9.2 Server-sent events: one `data` line for each line of text."""
    if not batch.text:
        return b""
    # The space is stripped by the reader; without it a line's own first space would be.
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(batch.text))
    return f"event: data\n{lines}\n".encode()


def _control_event(batch: Batch, query: Query) -> bytes:
    control: dict[str, Any] = {
        "streamNextOffset": format_offset(batch.end),
        "status": batch.status,
    }
    if batch.closed:
        control |= {"streamClosed": True, "endReason": batch.reason}
    else:
        control["streamCursor"] = query.next_cursor()
    if not batch.more:
        control["upToDate"] = True
    return f"event: control\ndata: {json.dumps(control)}\n\n".encode()


def _text_response(batch: Batch, **headers: str) -> HttpResponse:
    response = HttpResponse(batch.text, content_type=TEXT)
    # Private, and asked for again each time: after a sign-out the browser must not show it.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Stream-Next-Offset"] = format_offset(batch.end)
    response.headers["Stream-Status"] = batch.status
    if not batch.more:
        response.headers["Stream-Up-To-Date"] = "true"
    if batch.closed:
        response.headers["Stream-Closed"] = "true"
        response.headers["Stream-End-Reason"] = batch.reason
        if batch.sha256:
            response.headers["Stream-Sha256"] = batch.sha256
    for name, value in headers.items():
        response.headers[name] = value
    return response


def _etag(stream: Stream, batch: Batch) -> str:
    """Differs once the stream is closed, so that a reader with all text learns of the end."""
    closed = ":closed" if batch.closed else ""
    return f'"{stream.pk.hex}:{batch.start}:{batch.end}{closed}"'


def format_offset(offset: int) -> str:
    """Fixed width: the order of the texts is the order of the numbers."""
    return f"{offset:0{OFFSET_DIGITS}d}"


# --- POST /streams/<id>/stop


@require_POST
def stream_stop(request: HttpRequest, pk: str) -> HttpResponse:
    """Stop a stream: 204 to scripts, and back to where the form stood for plain forms.

    The session's user only; a stream that has ended already is no error.
    """
    stream_id = parse_id(pk)
    stream = Stream.objects.filter(pk=stream_id).first() if stream_id else None
    if stream is None or not access.may_stop(request.user, stream):
        raise Http404
    actions.stop(stream)
    if _wants_page(request):
        return HttpResponseRedirect(_way_back(request))
    return HttpResponse(status=204)


def _wants_page(request: HttpRequest) -> bool:
    if "HX-Request" in request.headers:
        return "HX-Boosted" in request.headers
    return request.content_type != "application/json" and request.accepts("text/html")


def _way_back(request: HttpRequest) -> str:
    """Where the form stood, if that is on this site."""
    for url in (request.POST.get("next"), request.headers.get("Referer")):
        if url and url_has_allowed_host_and_scheme(
            url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        ):
            return url
    return "/"

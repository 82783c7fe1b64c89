"""One way to a provider over HTTP: a session per event loop, deadlines, retries, typed events.

Importing this module imports aiohttp (0.3 s, 20 MB), so the registry does it at the first use.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from streaming.supervisor import next_tick

from .addresses import PublicResolver
from .base import Event, Finished, ProviderError, Reasoning, Text
from .decoding import Decoder
from .errors import cut, error_of, seconds_of, unreadable
from .sse import EventParser

logger = logging.getLogger(__name__)

UNREACHABLE = _("The provider cannot be reached.")
RETRIES = 2
RETRY_AFTER_MAX_SECONDS = 30
# A provider that has said its last word may still send its usage, but not for long.
TRAILER_SECONDS = 2.0
# After everything: the end of the HTTP answer, so that its connection can serve the next one.
LAST_BYTE_SECONDS = 0.1
ERROR_BODY_MAX_BYTES = 64 * 1024
MODEL_LIST_MAX_BYTES = 4 * 1024 * 1024
# A provider whose tokens come closer than this is read once a tick instead of once a token.
FAST_SECONDS = 0.03
# A larger piece is handed on in parts, so that the log can slow us down in between.
PIECE_MAX_CHARS = 32 * 1024


@dataclass(frozen=True)
class Limits:
    """Deadlines in seconds."""

    # To a TCP (and TLS) connection.
    connect: float
    # From the request to the first text or reasoning.
    first_token: float
    # Between two reads after that.
    idle: float
    # From the request to the end.
    total: float

    @classmethod
    def from_settings(cls) -> Limits:
        return cls(
            connect=getattr(settings, "PROVIDER_CONNECT_SECONDS", 10),
            first_token=getattr(settings, "PROVIDER_FIRST_TOKEN_SECONDS", 120),
            idle=getattr(settings, "PROVIDER_IDLE_SECONDS", 30),
            total=getattr(settings, "PROVIDER_TOTAL_SECONDS", 900),
        )


@dataclass(frozen=True)
class Call:
    """One request to a provider."""

    # For the log: the provider's name, never its URL or key.
    provider: str
    url: str
    headers: dict[str, str]
    payload: dict[str, Any]
    # (payload, status, body of a refusal) -> what to send instead, or None; asked until it acts.
    amend: Callable[[dict[str, Any], int, str], dict[str, Any] | None] | None = None
    # A person chose the address: nothing inside this network may be reached by it.
    public_only: bool = False


# (event loop, whether it connects to public addresses alone).
Place: TypeAlias = tuple[asyncio.AbstractEventLoop, bool]
_sessions: dict[Place, aiohttp.ClientSession] = {}
_keepers: dict[Place, AsyncGenerator[aiohttp.ClientSession, None]] = {}


async def session(*, public_only: bool = False) -> aiohttp.ClientSession:
    """This loop's client session, opened at first use.

    It closes with the loop: `loop.shutdown_asyncgens()`, part of `asyncio.run`, ends its keeper.
    """
    place = (asyncio.get_running_loop(), public_only)
    if place not in _sessions:
        _keepers[place] = keeper = _keep_session(place)
        await anext(keeper)
    return _sessions[place]


async def _keep_session(place: Place) -> AsyncGenerator[aiohttp.ClientSession, None]:
    resolver = PublicResolver() if place[1] else None
    opened = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, resolver=resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Compressed answers are neither asked for nor unpacked: none grows beyond what was sent.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "chatsite"},
        # A proxy of the environment would see keys and people's text.
        trust_env=False,
    )
    _sessions[place] = opened
    try:
        yield opened
    finally:
        del _sessions[place], _keepers[place]
        await opened.close()


async def converse(call: Call, decoder: Decoder) -> AsyncGenerator[Event, None]:
    """Send `call` and yield what `decoder` makes of the answer, `Finished` last.

    Tries again before the first text only. Leaving the iterator closes the connection.
    Raises ProviderError.
    """
    limits = Limits.from_settings()
    began = asyncio.get_running_loop().time()
    parser = EventParser()
    try:
        response = await _open(call, limits, began)
        watch = Watch(response, limits, began)
        try:
            while data := await _read(response, watch, decoder):
                events = _pieces(decoder.decode(parser.feed(data)))
                watch.after(events, decoder)
                for event in events:
                    yield event
                if not events and watch.has_begun:
                    # A comment, or a part of an event: a sign of life, as a thought is.
                    yield Reasoning("")
                if decoder.error is not None:
                    raise decoder.error
                if events and watch.waited < FAST_SECONDS and decoder.reason is None:
                    # More will be here by then, and is read at once.
                    await next_tick()
            for event in _pieces(decoder.finish()):
                yield event
            if decoder.reason is None:
                raise cut()
            yield Finished(decoder.reason)
        finally:
            watch.cancel()
            # After an answer read to its last byte this does nothing: the connection is reused.
            response.close()
    except ProviderError as error:
        logger.warning("%s: answer ended with %s", call.provider, error.code)
        raise


async def fetch_json(url: str, headers: dict[str, str], *, public_only: bool = False) -> Any:
    """The JSON at `url`. Raises ProviderError."""
    try:
        async with (
            asyncio.timeout(Limits.from_settings().connect),
            (await session(public_only=public_only)).get(
                url, headers=headers, allow_redirects=False
            ) as response,
        ):
            body = await _body(response, MODEL_LIST_MAX_BYTES)
            if response.status != 200:
                raise error_of(body, response.status)
            return json.loads(body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ProviderError("provider", UNREACHABLE) from error
    except (ValueError, RecursionError) as error:
        raise unreadable() from error


class Watch:
    """Closes a response that is late.

    Looks at the clock once per deadline: a read costs it two assignments, not a timer.
    """

    def __init__(self, response: aiohttp.ClientResponse, limits: Limits, began: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._limits = limits
        self._began = began
        # Seconds of the present deadline, None before the first token; and when it came to count.
        self._seconds: float | None = None
        self._since = began
        self._ending = False
        self._handle: asyncio.Handle = self._loop.call_soon(self._look)
        # When the last read ended, or the one under way began.
        self.read_at = began
        # How long the last read took.
        self.waited = 0.0
        # A reader that waits for the log is not a provider that is silent.
        self.reading = False
        self.error: ProviderError | None = None

    def after(self, events: list[Event], decoder: Decoder) -> None:
        """Choose the next deadline by what the last read brought."""
        if decoder.reason is not None:
            self._expect(LAST_BYTE_SECONDS if decoder.complete else TRAILER_SECONDS, ending=True)
        elif events:
            # The first token is here: from now on silence between two reads counts.
            self._expect(self._limits.idle, ending=False)

    @property
    def has_begun(self) -> bool:
        """Whether the first token has come."""
        return self._seconds is not None

    def cancel(self) -> None:
        self._handle.cancel()

    def _expect(self, seconds: float, *, ending: bool) -> None:
        if (seconds, ending) != (self._seconds, self._ending):
            self._seconds, self._ending = seconds, ending
            self._since = self._loop.time()
            self._handle.cancel()
            self._look()

    def _look(self) -> None:
        now = self._loop.time()
        total = self._began + self._limits.total
        if self._seconds is None:
            due, error = self._began + self._limits.first_token, _silent()
        elif self._ending:
            # Counted from the last word: comments that still come do not make it longer.
            due, error = self._since + self._seconds, cut()
        else:
            due, error = (self.read_at if self.reading else now) + self._seconds, _silent()
        if total < due:
            due, error = total, _late()
        if now < due:
            self._handle = self._loop.call_at(due, self._look)
        else:
            self.error = error
            self._response.close()


def _silent() -> ProviderError:
    return ProviderError("idle", _("The provider stopped responding."))


def _late() -> ProviderError:
    return ProviderError("deadline", _("The answer took too long."))


async def _read(response: aiohttp.ClientResponse, watch: Watch, decoder: Decoder) -> bytes:
    """The next bytes of the answer, empty at its end; a cut after the last word is an end too."""
    now = asyncio.get_running_loop().time
    watch.read_at = now()
    watch.reading = True
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        # aiohttp gives a broken answer's error before its text: what came before the cut counts.
        if rest := response.content._read_nowait(-1):
            return rest
        if decoder.reason is not None:
            return b""
        raise (watch.error or cut()) from error
    finally:
        watch.reading = False
        watch.waited = now() - watch.read_at


def _pieces(events: list[Event]) -> list[Event]:
    """The same events, the few that are very large in parts."""
    pieces: list[Event] = []
    for event in events:
        if isinstance(event, (Text, Reasoning)) and len(event.text) > PIECE_MAX_CHARS:
            kind, text = type(event), event.text
            pieces += [
                kind(text[at : at + PIECE_MAX_CHARS]) for at in range(0, len(text), PIECE_MAX_CHARS)
            ]
        else:
            pieces.append(event)
    return pieces


async def _open(call: Call, limits: Limits, began: float) -> aiohttp.ClientResponse:
    """A response that streams; tries again where that may help. Raises ProviderError."""
    payload, amend = call.payload, call.amend
    attempt = 0
    while True:
        try:
            response = await _post(call, payload, limits, began)
            if response.status == 200 and not _is_page(response):
                return response
            body = await _body(response, ERROR_BODY_MAX_BYTES)
            amended = amend(payload, response.status, body) if amend else None
            if amended is not None:
                payload, amend = amended, None
                continue
            raise error_of(body, response.status, seconds_of(response.headers.get("Retry-After")))
        except ProviderError as error:
            wait = error.retry_after
            if wait is None:
                wait = getattr(settings, "PROVIDER_RETRY_SECONDS", 1.0) * 2**attempt
            if not error.retry or attempt == RETRIES or wait > RETRY_AFTER_MAX_SECONDS:
                raise
            attempt += 1
            logger.info("%s: %s, retry %s in %.1f s", call.provider, error.code, attempt, wait)
            await asyncio.sleep(wait)


async def _post(
    call: Call, payload: dict[str, Any], limits: Limits, began: float
) -> aiohttp.ClientResponse:
    client = await session(public_only=call.public_only)
    try:
        async with asyncio.timeout_at(began + limits.first_token):
            return await client.post(
                call.url,
                data=json.dumps(payload).encode(),
                headers={"Content-Type": "application/json", **call.headers},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect),
            )
    except aiohttp.ConnectionTimeoutError as error:
        raise ProviderError("provider", UNREACHABLE) from error
    except TimeoutError as error:
        raise _silent() from error
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise ProviderError("provider", UNREACHABLE, retry=True) from error
    except (aiohttp.ClientError, ValueError) as error:
        raise unreadable() from error


def _is_page(response: aiohttp.ClientResponse) -> bool:
    """Whether the answer is one document: a gateway's error, or a server that cannot stream."""
    return response.content_type in ("application/json", "text/html")


async def _body(response: aiohttp.ClientResponse, most: int) -> str:
    """The text of a short answer, closed after it; what goes wrong here leaves it shorter."""
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(Limits.from_settings().connect):
            while sum(map(len, parts)) < most and (data := await response.content.readany()):
                parts.append(data)
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    finally:
        response.close()
    return b"".join(parts).decode(errors="replace")

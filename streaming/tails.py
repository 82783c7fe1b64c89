"""The tail of one followed stream: its text rendered once for all pages of this process.

Text comes in order or not at all: what ends before the tail's end is ignored, overlap is trimmed,
a gap reads the database. A follower whose page is in step gets the shared frame; one that is not
(new, or slower than the text) gets one merged frame when its socket has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.db import Error as DatabaseError
from django.template.loader import render_to_string
from django.utils import translation

from .conf import conf
from .exceptions import log_failure
from .executors import run_read, run_rendering
from .frames import Frame, stream_frame
from .generators import get_generator
from .models import EndReason, Stream
from .reader import text_from
from .rendering import Delta, LiveDocument, since, wire_size

if TYPE_CHECKING:
    from .hub import Hub

# An open block is rendered anew for each frame; above this size its frames come less often, in
# proportion, so that the cost of a long answer stays linear whatever its shape.
SMALL_BLOCK_CHARS = 4_096
# Above this size it is rendered in a thread, so that other streams do not wait.
LARGE_BLOCK_CHARS = 16_384
# What it takes to push one frame to one page, generously. Where the pages of a process are so many
# that this fills its ticks, frames come less often instead of later and later: half as often as it
# could at best, because it shares its cores, but for that alone not in slower steps than these.
PUSH_SECONDS, STEP_SECONDS = 0.0003, 0.3
# What a frame has around the HTML of its blocks.
AROUND_BYTES = 640
# A database that does not answer is asked again after so long.
RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Follower(Protocol):
    """One page that follows the stream."""

    # Where the page stands; the tail sets them with each frame that it hands over. It shows the
    # text up to `end`, of which the closed blocks reach to `cut`.
    cut: int
    end: int
    key: str
    in_step: bool

    def room(self) -> int:
        """How many bytes the page's socket may be given now; less than 1: none."""
        ...

    def push(self, frame: Frame) -> None:
        """Hand a frame to the page; with the end frame it leaves the tail."""
        ...

    def gone(self) -> None:
        """The stream does not exist any more; the page leaves the tail."""
        ...


class Tail:
    """See the module. Lives on the hub's event loop."""

    def __init__(self, hub: Hub, stream_id: UUID) -> None:
        self._hub = hub
        self.stream_id = stream_id
        self.followers: set[Follower] = set()
        # Code points known here, rendered or not.
        self.length = 0
        self.is_ended = False
        # What the doorbell of another process's end brought; the row does not have it.
        self.topics: Mapping[str, int] = {}
        self._document: LiveDocument | None = None
        self._unfed: list[str] = []
        # What was told while the database was being read: (start, text).
        self._early: list[tuple[int, str]] = []
        self._loading = False
        self._look_again = False
        # Held while a thread works on the document.
        self._at_work = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._fed_at = 0.0
        self._final: Stream | None = None
        self._foot = ""
        # None: its pages have none, and need none.
        self.note: str | None = None

    @property
    def is_ending(self) -> bool:
        """Whether an end, known or about to be read, is still to be told to the followers."""
        return not self.is_ended and (self._final is not None or self._loading)

    # --- Followers

    def join(self, follower: Follower) -> None:
        self.followers.add(follower)
        self._hub.follower_count += 1
        if max(follower.cut, follower.end) > self.length and not self.is_ended:
            # Its page was drawn with more than this process knows yet.
            self.look()
        self.catch_up(follower)

    def leave(self, follower: Follower) -> None:
        if follower in self.followers:
            self.followers.remove(follower)
            self._hub.follower_count -= 1
        if not self.followers:
            if self._timer:
                self._timer.cancel()
            self._hub.drop(self)

    def catch_up(self, follower: Follower) -> None:
        """Bring a page in step, as far as its socket has room: more comes with its next ack."""
        document = self._document
        if document is None or self._loading or self._at_work.locked() or follower.in_step:
            return
        if self._final is not None and not self.is_ended:
            return
        room = follower.room()
        if room <= AROUND_BYTES or (_is_small(room) and document.open_size > room):
            # The last piece would not fit, and to find out costs its size at each tick.
            return
        # Until the end the note comes with this frame only: who must get it is put out of step.
        around = AROUND_BYTES + wire_size(self.note or "") + wire_size(self._foot)
        # What a page says that it shows is its own claim: no more than a frame's worth is owed.
        shown = min(follower.end, follower.cut + conf.UNACKED_BYTES)
        delta = since(document, follower.cut, follower.key, max(1, room - around), shown)
        frame = self._frame(delta, max(0, follower.cut), self.note)
        if frame.size <= room or not _is_small(room):
            self._hand_over(follower, frame, delta.stop)

    def _hand_over(self, follower: Follower, frame: Frame, stop: int | None = None) -> None:
        """Push the frame to a page that then stands at `stop` or, with None, in step."""
        assert self._document is not None
        follower.cut = self._document.cut if stop is None else stop
        follower.end = self._document.end if stop is None else stop
        follower.key = self._document.key
        follower.in_step = stop is None
        follower.push(frame)

    def _frame(self, delta: Delta, start: int, note: str | None = None) -> Frame:
        document = self._document
        assert document is not None
        is_part = delta.stop is not None
        return stream_frame(
            self.stream_id,
            delta,
            start=start,
            cut=document.cut if delta.stop is None else delta.stop,
            end=document.end if delta.stop is None else delta.stop,
            key=document.key,
            ended=self._final if self.is_ended and not is_part else None,
            foot="" if is_part else self._foot,
            note=None if is_part else note,
        )

    def _tell(self, delta: Delta, start: int) -> None:
        """The document moved on from `start`: one frame for all who are in step."""
        assert self._document is not None
        frame = self._frame(delta, start, self.note if self.is_ended else None)
        # Trailing white space, for example: it comes with what makes it show.
        shows_nothing = not frame.html and start == self._document.cut and not self.is_ended
        for follower in list(self.followers):
            if not follower.in_step:
                self.catch_up(follower)
                continue
            if shows_nothing:
                continue
            room = follower.room()
            # What has no closed blocks cannot be divided, and is larger when it is merged.
            if frame.size <= room or not (delta.closed or _is_small(room)):
                self._hand_over(follower, frame)
            else:
                follower.in_step = False
                self.catch_up(follower)

    # --- Text

    def extend(self, start: int, text: str) -> None:
        """Committed text at offset `start`."""
        if self._loading:
            self._early.append((start, text))
        elif start > self.length or self._document is None:
            self.look()
        elif start + len(text) > self.length:
            self._unfed.append(text[self.length - start :])
            self.length = start + len(text)
            self._arrange_feed()

    def end(self, stream: Stream) -> None:
        """The stream's final state is committed."""
        if self._loading or self.length != stream.length or self._document is None:
            self.look()
        elif self._final is None:
            self._final = stream
            self._hub.spawn(self._finish())

    def look(self) -> None:
        """Read the database: what is missing here, and the state."""
        self._look_again = True
        if not self._loading:
            self._loading = True
            self._hub.spawn(self._look())

    async def _look(self) -> None:
        try:
            stream = await self._load()
        finally:
            self._loading = False
        if stream is None:
            return
        early, self._early = self._early, []
        for start, text in early:
            self.extend(start, text)
        if not stream.is_open and self.length == stream.length:
            stream.topics = self.topics
            self.end(stream)
        self._arrange_feed()
        for follower in list(self.followers):
            self.catch_up(follower)

    async def _load(self) -> Stream | None:
        """Take in what the database has; the row, or None if there is no more to do here."""
        stream = None
        while self._look_again:
            self._look_again = False
            try:
                found = await run_read(_read, self.stream_id, self.length, self._document is None)
            except DatabaseError as error:
                logger.warning("Stream %s waits: %s", self.stream_id, type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._look_again = bool(self.followers)
                continue
            if found is None:
                for follower in list(self.followers):
                    follower.gone()
                return None
            stream, text, document, note = found
            if note and not self.note:
                self.note = note
                for follower in self.followers:
                    follower.in_step = False
            if document is not None:
                self._document = document
            elif text:
                self._unfed.append(text)
            self.length += len(text)
        return stream

    def _arrange_feed(self) -> None:
        """Render what is there now or, for a large open block or many pages, a little later."""
        if self._document is None or self._at_work.locked() or self._timer or not self._unfed:
            return
        pushing = PUSH_SECONDS * self._hub.follower_count
        drawing = conf.TICK_SECONDS * self._document.redraw_size / SMALL_BLOCK_CHARS
        interval = max(drawing, pushing, min(2 * pushing, STEP_SECONDS))
        delay = 0.0
        if interval > conf.TICK_SECONDS and self._final is None:
            delay = self._fed_at + interval - self._hub.time()
        if delay > 0:
            self._timer = self._hub.call_later(delay, self._feed_later)
        elif self._document.open_size > LARGE_BLOCK_CHARS:
            self._hub.spawn(self._feed_in_thread())
        else:
            start = self._document.cut
            self._fed_at = self._hub.time()
            try:
                delta = self._document.feed(self._take_unfed())
            except Exception as error:
                self._start_over(error)
            else:
                self._tell(delta, start)

    def _feed_later(self) -> None:
        self._timer = None
        self._fed_at = 0.0
        self._arrange_feed()

    async def _feed_in_thread(self) -> None:
        document = self._document
        assert document is not None
        async with self._at_work:
            start = document.cut
            try:
                delta = await run_rendering(document.feed, self._take_unfed())
            except Exception as error:
                self._start_over(error)
                return
        self._fed_at = self._hub.time()
        self._tell(delta, start)
        if self._final is None:
            self._arrange_feed()

    def _start_over(self, error: Exception) -> None:
        """The document failed within a text and may lack some: the next text makes a fresh one."""
        log_failure(logger, error, "Stream %s cannot be rendered", self.stream_id)
        self._document, self.length = None, 0
        self._unfed.clear()
        for follower in self.followers:
            follower.in_step = False

    def _take_unfed(self) -> str:
        text = "".join(self._unfed)
        self._unfed.clear()
        return text

    async def _finish(self) -> None:
        """Render the rest and the foot, and tell the end."""
        document, stream = self._document, self._final
        assert document is not None
        assert stream is not None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        foot, note = await _words_of(stream)
        async with self._at_work:
            start = document.cut
            if self.length > LARGE_BLOCK_CHARS:
                delta = await run_rendering(_close, document, self._take_unfed())
            else:
                delta = _close(document, self._take_unfed())
        self._foot = foot
        if self.note is not None:
            self.note = note
        self.is_ended = True
        self._tell(delta, start)


def _is_small(room: int) -> bool:
    """Whether a frame that cannot be divided (one large block) must wait for acknowledgements."""
    return room < conf.UNACKED_BYTES // 2


def _close(document: LiveDocument, rest: str) -> Delta:
    """Take the rest of the text in and finish the document, in one step for its pages."""
    grown = document.feed(rest) if rest else Delta(full=False, closed="", open=None)
    end = document.finish()
    if end.full or grown.full:
        return since(document, -1, document.key)
    return Delta(
        full=False,
        closed=grown.closed + end.closed,
        open=grown.open if end.open is None else end.open,
    )


def _read(
    stream_id: UUID, start: int, with_document: bool
) -> tuple[Stream, str, LiveDocument | None, str] | None:
    """The row, the text from `start` on, a fresh document of it if asked for, and the note.

    None for a stream that is gone or about to be.
    """
    stream = Stream.objects.filter(pk=stream_id).first()
    if stream is None or stream.end_reason == EndReason.DELETED:
        return None
    text = text_from(stream_id, start, stream.length) if stream.length > start else ""
    document = get_generator(stream.generator).renderer.live(text) if with_document else None
    return stream, text, document, _note_of(stream)


async def _words_of(stream: Stream) -> tuple[str, str]:
    """Foot and note of an ended stream; empty, so that the end is told, if a template fails."""
    while True:
        try:
            return await run_read(_pushed_words, stream)
        except DatabaseError as error:
            logger.warning("The foot of stream %s waits: %s", stream.pk, type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception as error:
            log_failure(logger, error, "The foot of stream %s cannot be drawn", stream.pk)
            return "", ""


def _pushed_words(stream: Stream) -> tuple[str, str]:
    with translation.override(get_generator(stream.generator).language_of(stream)):
        return render_foot(stream), stream.note


def _note_of(stream: Stream) -> str:
    if not stream.was_taken_over:
        return ""
    with translation.override(get_generator(stream.generator).language_of(stream)):
        return stream.note


def render_foot(stream: Stream, **page: Any) -> str:
    """HTML of what stands under the text: the state in words, and what can be done about it.

    `page` is what only a page knows (its `csrf_token`); a pushed foot does without.
    """
    generator = get_generator(stream.generator)
    context = generator.foot_context(stream) if generator.foot_context else {}
    return render_to_string(generator.foot_template, {**page, "stream": stream, **context})

"""What the scripted provider says, as events of either protocol, well formed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from typing import Any

from ..reasoning import joined
from .texts import endless_tokens

# In this order no CR meets a LF of its own.
LINE_ENDS = ("\r\n", "\n", "\r")
# A KiB whose characters take four bytes each in Python's memory, for the sake of one.
WIDE = "😀" + "x" * 1020
# How the chat begins to ask those to go on who take no final assistant message.
CUT_OFF = "Your last message was cut off."
# Stands for the text of a delta until the script's own JSON of it takes its place.
_SLOT = "delta-slot"


@dataclass(frozen=True)
class Script:
    """How one answer goes; "after" counts tokens."""

    # The answer; empty: numbered tokens ("00001 …"), or Markdown of marked words for a `name`.
    text: str = ""
    repeat: int = 1
    name: str = ""
    # The marked words are one paragraph without an end.
    flat: bool = False
    # Of an endless answer: those that `answer` has.
    tokens: int = 20
    # Characters of a token.
    size: int = 22
    # The JSON of each token's text instead: escapes as they stand, surrogate escapes as bytes.
    deltas: tuple[str, ...] = ()
    # Tokens that are sent as one.
    per_event: int = 1
    # Tokens a second by absolute deadlines; 0: at once.
    rate: float = 0
    # Seconds before the first byte.
    delay: float = 0
    endless: bool = False
    # How the answer ends early: silence, or with `drip` a byte every so many seconds; an end of the
    # connection (fin, rst, or "eof", a proper end of the HTTP answer without the provider's end),
    # an error event, or broken JSON, with `line_bytes` a line of so many bytes.
    stall_after: int | None = None
    drip: float = 0
    cut_after: int | None = None
    cut: str = "fin"
    error_after: int | None = None
    error: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "server_error", "message": "secret-body sk-canary"}
    )
    malformed_after: int | None = None
    line_bytes: int = 0
    # Refuse with this status: always, or the first `refusals` requests of this answer.
    status: int = 200
    refusals: int | None = None
    retry_after: str = ""
    # Answer 400 to requests that name this field.
    refuse_field: str = ""
    content_type: str = "text/event-stream"
    # Send these events' data instead of an answer.
    raw: tuple[str, ...] = ()
    reasoning: str = ""
    reasoning_field: str = "reasoning_content"
    # Think for so many seconds and show it each second, by "reasoning" or "comments".
    think_after: int | None = None
    think_seconds: float = 0
    think_by: str = "reasoning"
    finish: str = "stop"
    # The most tokens of one answer: behind them it finishes with "length".
    most: int | None = None
    # Report the tokens so far with each token, as vLLM can (OpenAI's protocol only).
    usage_each: bool = False
    # The connection stays open, with comments, after "finish" (the reason) or "done" (everything).
    hold_open: str = ""
    # The form of the events; line ends may be "mixed".
    line_end: str = "\n"
    bom: bool = False
    comments: bool = False
    multiline: bool = False
    # Bytes of each write; 0: one write for each event.
    split: int = 0
    # Part the event of token n after its byte n: enough tokens try every boundary.
    parted: bool = False

    def pieces(self) -> Iterator[str]:
        """The answer's tokens: one mark each with a `name`, else of `size` characters."""
        if self.deltas:
            return map(_decoded, self.deltas)
        if self.text:
            text = self.text * self.repeat
            return (text[at : at + self.size] for at in range(0, len(text), self.size))
        if self.name:
            return self._marked()
        return self._numbered()

    def _marked(self) -> Iterator[str]:
        every = endless_tokens(self.name, flat=self.flat)
        if not self.endless:
            every = islice(every, self.tokens)
        while piece := "".join(islice(every, self.per_event)):
            yield piece

    def _numbered(self) -> Iterator[str]:
        number = 0
        while self.endless or number < self.tokens:
            number += 1
            yield f"{number:05d} ".ljust(self.size, "x")

    def changed(self) -> dict[str, Any]:
        """The fields that differ from the default: what a message needs to say of the script."""
        default = asdict(Script())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def pieces_after(self, prefix: str) -> Iterator[str]:
        """The tokens that follow `prefix`. Raises ValueError when the answer begins otherwise."""
        left = len(prefix)
        if prefix and not self.endless and not self.answer.startswith(prefix):
            raise ValueError("The answer does not begin with the prefix.")
        for piece in self.pieces():
            if left < len(piece):
                yield piece[left:]
            left = max(0, left - len(piece))

    @property
    def answer(self) -> str:
        """The whole text that a client should end up with."""
        return "".join(islice(self.pieces(), self.tokens) if self.endless else self.pieces())

    @property
    def stored(self) -> str:
        """The whole text of its stream: what it thinks first and shows, then the answer."""
        thinks_first = self.think_after == 0 and thinks_aloud(self)
        thoughts = THOUGHT * int(self.think_seconds) if thinks_first else ""
        return joined(self.reasoning + thoughts, self.answer)

    def due(self, number: int) -> float:
        """Seconds from the first event to token `number`."""
        thought = self.think_after is not None and number >= self.think_after
        return (number / self.rate if self.rate else 0) + (self.think_seconds if thought else 0)


def _decoded(delta: str) -> str:
    """The text of a delta's JSON, by Python's own decoder of UTF-8."""
    text: str = json.loads(delta.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return text


@dataclass(frozen=True)
class Said:
    """One event of an answer."""

    text: str
    # Seconds from the first one.
    due: float = 0
    # Of the token, if it is one.
    number: int | None = None


def framed(script: Script, data: Any, name: str = "") -> str:
    """`data` as one server-sent event in the script's form."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    if script.multiline and not isinstance(data, str):
        text = json.dumps(data, ensure_ascii=False, indent=1)
    lines = [f"event: {name}"] if name else []
    lines += [": a comment"] if script.comments else []
    lines += [f"data: {line}" for line in text.split("\n")]
    ends = cycle(LINE_ENDS if script.line_end == "mixed" else [script.line_end])
    return "".join(line + end for line, end in zip([*lines, ""], ends, strict=False))


def faulty(script: Script, number: int) -> str | None:
    """The event that takes the place of token `number`, if the script wants a fault there."""
    if number == script.malformed_after:
        return framed(script, WIDE * (script.line_bytes // 1024) or '{"choices": [')
    if number == script.error_after:
        return framed(script, {"type": "error", "error": dict(script.error)}, "error")
    return None


def prefix_of(body: dict[str, Any]) -> str:
    """The text to write on: a final assistant message, or the one that it is asked to go on.

    Empty without either.
    """
    last = body["messages"][-1]
    if last["role"] == "user" and last["content"].startswith(CUT_OFF):
        last = body["messages"][-2]
    return str(last["content"]) if last["role"] == "assistant" else ""


def finish_of(script: Script, body: dict[str, Any]) -> str:
    """The reason of the end: "length" when more than `most` tokens are still to be said."""
    rest = script.pieces_after(prefix_of(body))
    is_cut = script.most is not None and next(islice(rest, script.most, None), None) is not None
    return "length" if is_cut else script.finish


def said(script: Script, body: dict[str, Any], delta: Any, thought: str) -> Iterator[Said]:
    """The tokens that are still to be said, each by `delta(number, text)`, and the thinking."""
    for number, piece in enumerate(islice(script.pieces_after(prefix_of(body)), script.most)):
        if number == script.think_after:
            for second in range(int(script.think_seconds)):
                yield Said(thought, script.due(number) - script.think_seconds + second)
        event = faulty(script, number)
        if event is None and script.deltas:
            event = delta(number, _SLOT).replace(json.dumps(_SLOT), script.deltas[number])
        yield Said(event or delta(number, piece), script.due(number), number)


def openai_events(script: Script, body: dict[str, Any]) -> Iterator[Said]:
    """The events of a streamed chat completion."""
    with_usage = bool(body.get("stream_options", {}).get("include_usage"))

    def usage(tokens: int) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": 7, "completion_tokens": tokens}}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return framed(script, {"object": "chat.completion.chunk", "choices": [choice], **more})

    def content(number: int, piece: str) -> str:
        return chunk({"content": piece}, **(usage(number + 1) if script.usage_each else {}))

    if script.raw:
        yield from (Said(framed(script, data)) for data in script.raw)
        return
    yield Said(chunk({"role": "assistant", "content": None}))
    if script.reasoning:
        yield Said(chunk({script.reasoning_field: script.reasoning}))
    thought = chunk({script.reasoning_field: THOUGHT})
    number = -1
    for one in said(script, body, content, thought if thinks_aloud(script) else COMMENT):
        number = number if one.number is None else one.number
        yield one
    if finish := finish_of(script, body):
        yield Said(chunk({}, finish), script.due(number))
    if script.hold_open == "finish":
        return
    if with_usage:
        yield Said(framed(script, {"choices": [], **usage(number + 1)}), script.due(number))
    yield Said(framed(script, "[DONE]"), script.due(number))


# What it thinks each second.
THOUGHT = "hm "
COMMENT = ": thinking\n\n"


def thinks_aloud(script: Script) -> bool:
    return script.think_by == "reasoning"


def anthropic_events(script: Script, body: dict[str, Any]) -> Iterator[Said]:
    """The events of a streamed message."""

    def event(kind: str, **fields: Any) -> str:
        return framed(script, {"type": kind, **fields}, kind)

    def delta(kind: str, **fields: Any) -> str:
        return event("content_block_delta", index=0, delta={"type": kind, **fields})

    def content(number: int, piece: str) -> str:
        return delta("text_delta", text=piece)

    yield Said(event("message_start", message={"usage": {"input_tokens": 7}}))
    yield Said(event("ping"))
    if script.reasoning:
        yield Said(delta("thinking_delta", thinking=script.reasoning))
    thought = delta("thinking_delta", thinking=THOUGHT)
    number = -1
    for one in said(script, body, content, thought if thinks_aloud(script) else COMMENT):
        number = number if one.number is None else one.number
        yield one
    finish = finish_of(script, body)
    reason = {"stop": "end_turn", "length": "max_tokens"}.get(finish, finish)
    usage = {"output_tokens": number + 1}
    ending = event("message_delta", delta={"stop_reason": reason}, usage=usage)
    yield Said(ending, script.due(number))
    yield Said(event("message_stop"), script.due(number))

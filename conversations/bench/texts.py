"""The benchmark's answers: Markdown of five shapes, cut into tokens that each carry a time mark.

A mark is a plain word, `m0042t01234567`: the token's number and the moment it was sent, in
tenths of a millisecond of the machine's monotonic clock (the last eight digits). Markdown and
sanitiser leave it alone, so it is found again in HTML.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path

# A token ends with the word that reaches this length, mark included; on average it has 22.
TOKEN_CHARS = 18
MARK = re.compile(r"m(\d{4,6})t(\d{8})")
MARK_CHARS = 14
CLOCK_PERIOD = 10**8

# Each shape's first lines, which come once, and the lines that repeat. A line ends its block only
# where the shape says so: one fence, one list, one table and one paragraph grow without end.
ONE_BLOCK = {
    "fence": ("```python\n", "total = first + second  # add the next value to the running sum\n"),
    "list": ("", "- an item of a list that grows by **one short line** at a time\n"),
    "table": (
        "| name | value | notes |\n| --- | --- | --- |\n",
        "| first cell | second cell | a third one with more words |\n",
    ),
    "paragraph": ("", "and the sentence goes on with *some emphasis* and never breaks the line "),
}
SHAPES = ("mixed", *ONE_BLOCK)


def tokens(shape: str, count: int) -> list[tuple[str, str]]:
    """`count` tokens of an answer of that shape: the text before and the text after each mark."""
    return list(islice(_tokens(_source(shape)), count))


def mark(number: int) -> str:
    """The mark of token `number`, sent now."""
    return f"m{number:04d}t{clock():08d}"


def clock() -> int:
    """Tenths of a millisecond, the same in all processes of this machine, modulo CLOCK_PERIOD."""
    return time.monotonic_ns() // 100_000 % CLOCK_PERIOD


def milliseconds_since(sent: int, now: int) -> float:
    """Milliseconds between two readings of `clock`, across its wrap."""
    return (now - sent) % CLOCK_PERIOD / 10


def _source(shape: str) -> Iterator[str]:
    """Words with the white space behind them, without end."""
    if shape == "mixed":
        head, body = "", (Path(__file__).parent / "answer.md").read_text(encoding="utf-8") + "\n"
    else:
        head, body = ONE_BLOCK[shape]
    return chain(_words(head), cycle(_words(body)))


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+[^\S\n]*\n*", text)


def _tokens(words: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Put words together until a token has its mark, before a plain word, and is long enough."""
    before = after = ""
    for word in words:
        if after:
            after += word
        elif word[:1].isalpha():
            after = " " + word
        else:
            before += word
        if after and len(before) + MARK_CHARS + len(after) >= TOKEN_CHARS:
            yield before, after
            before = after = ""

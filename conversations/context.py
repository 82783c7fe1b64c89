"""What of a conversation fits into a model's context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .providers.base import Turn

# Bytes of UTF-8 a token stands for, on the careful side for English, code and Chinese alike.
BYTES_PER_TOKEN = 3.2
# What a chat template puts around each turn.
TOKENS_PER_TURN = 6


class TooLong(Exception):
    """The newest message alone does not fit."""


@dataclass(frozen=True)
class Fitted:
    """The turns that are sent, oldest first, and how many older ones were left out."""

    turns: list[Turn]
    left_out: int


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is; no tokenizer, rather too many than too few."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + TOKENS_PER_TURN


def fit(turns: Sequence[Turn], *, tokens: int, system: str = "", prefix: str = "") -> Fitted:
    """Leave out the oldest turns until the rest fits into `tokens`.

    `system` (the system prompt), `prefix` (the answer's text so far) and the newest turn always
    stay; what is kept starts with a user's turn. Raises TooLong when these alone do not fit.
    """
    room = tokens - sum(estimate_tokens(text) for text in (system, prefix) if text)
    kept: list[Turn] = []
    for turn in reversed(turns):
        room -= estimate_tokens(turn.content)
        if room < 0:
            break
        kept.append(turn)
    if turns and not kept:
        raise TooLong
    kept.reverse()
    while len(kept) > 1 and kept[0].role != "user":
        kept.pop(0)
    return Fitted(turns=kept, left_out=len(turns) - len(kept))

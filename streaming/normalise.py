"""What stands between a writer's pieces of text and the log: one form of text for every reader."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

_UNUSUAL = re.compile("[\r\0\ud800-\udfff]")
_LINE_END = re.compile("\r\n?")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def normalise(text: str) -> str:
    """`text` as the log keeps it.

    CR and CRLF become LF, two surrogates that belong together become their character, U+0000 (which
    PostgreSQL refuses) and lone surrogates (which no driver can encode) become U+FFFD.
    """
    if not _UNUSUAL.search(text):
        return text
    text = _LINE_END.sub("\n", text)
    text = _SURROGATE_PAIR.sub(_join_pair, text)
    return _UNSTORABLE.sub(REPLACEMENT, text)


class Normaliser:
    """Normalises a text that arrives in pieces, as if it had come in one.

    One per writer. What the next piece may change, a trailing CR or high surrogate, is held back
    until that piece or `flush`.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece in; return what can be stored now, maybe nothing."""
        if not self._held and not _UNUSUAL.search(text):
            return text
        text = self._held + text
        self._held = ""
        if text and (text[-1] == "\r" or "\ud800" <= text[-1] <= "\udbff"):
            text, self._held = text[:-1], text[-1]
        return normalise(text)

    def flush(self) -> str:
        """Return what was held back; to be called at the text's end."""
        text, self._held = normalise(self._held), ""
        return text


def _join_pair(match: re.Match[str]) -> str:
    return match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")

"""Code colours: Pygments' tokens as spans with CSS classes (`static/highlight.css`)."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from html import escape
from threading import Lock

# Longer code keeps one colour: highlighting costs about 5 ms a KiB.
MAX_CHARS = 64 * 1024
# Characters of HTML that are kept for code that comes again (reload, one-shot render at the end).
CACHE_CHARS = 1024 * 1024

# Pygments' names of the token classes that have a colour of their own; written out so that the
# sanitiser's list needs no import of Pygments.
CLASSES = frozenset(
    {
        *("bp", "c", "c1", "ch", "cm", "cp", "cpf", "cs", "dl", "err", "fm", "il", "o", "ow", "py"),
        *("gd", "ge", "ges", "gh", "gi", "go", "gp", "gr", "gs", "gt", "gu"),
        *("k", "kc", "kd", "kn", "kp", "kr", "kt", "ld", "m", "mb", "mf", "mh", "mi", "mo"),
        *("na", "nb", "nc", "nd", "ne", "nf", "ni", "nl", "nn", "no", "nt", "nv", "nx"),
        *("s", "s1", "s2", "sa", "sb", "sc", "sd", "se", "sh", "si", "sr", "ss", "sx"),
        *("vc", "vg", "vi", "vm"),
    }
)

_cache: OrderedDict[bytes, str] = OrderedDict()
_cached_chars = 0
_lock = Lock()


def highlight(code: str, language: str) -> str:
    """Safe HTML of `code`: the same characters, coloured if `language` is known."""
    if not code or not language or len(code) > MAX_CHARS:
        return escape(code, quote=False)
    key = blake2b(f"{language}\n{code}".encode(), digest_size=16).digest()
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    html = _colour(code, language)
    _keep(key, html)
    return html


def _keep(key: bytes, html: str) -> None:
    global _cached_chars
    with _lock:
        _cached_chars += len(html) - len(_cache.pop(key, ""))
        _cache[key] = html
        while _cached_chars > CACHE_CHARS:
            _cached_chars -= len(_cache.popitem(last=False)[1])


def _colour(code: str, language: str) -> str:
    # Imported with the first code: an idle server does without.
    from pygments.lexers import get_lexer_by_name
    from pygments.token import STANDARD_TYPES
    from pygments.util import ClassNotFound

    plain = escape(code, quote=False)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return plain
    spans: list[str] = []
    values: list[str] = []
    for kind, value in lexer.get_tokens(code):
        while kind not in STANDARD_TYPES:
            kind = kind.parent
        name = STANDARD_TYPES[kind]
        text = escape(value, quote=False)
        spans.append(f'<span class="{name}">{text}</span>' if name in CLASSES else text)
        values.append(value)
    # A lexer that drops or changes a character must not change what people copy.
    return "".join(spans) if "".join(values) == code else plain

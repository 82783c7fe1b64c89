"""Persistent text streams for Django: durable, resumable, live text.

The public interface; see README.md in this folder. Names load on first use, because models cannot
be imported before Django's app registry is ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "generator": "generators",
    "End": "generators",
    "owner_only": "generators",
    "StreamFailed": "exceptions",
    "next_tick": "supervisor",
    "create": "actions",
    "start": "actions",
    "stop": "actions",
    "resume": "actions",
    "delete": "actions",
    "access_token": "access",
    "topic": "topics",
    "touch": "topics",
    "text_of": "reader",
    "follow": "reader",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    try:
        module = _WHERE[name]
    except KeyError:
        raise AttributeError(f"module 'streaming' has no attribute {name!r}") from None
    return getattr(import_module(f".{module}", __name__), name)

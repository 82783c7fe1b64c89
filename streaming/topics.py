"""Versioned topics: a page watches "conversation:<id>" and is told when it passes a version.

Like everything live a hint: the version is in the database, the hub compares it every 2 s, and the
page fetches what changed by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# In place of a version: there is no such topic any more.
GONE = -1


@dataclass(frozen=True)
class Topic:
    """How a kind of topic is guarded and read; both functions are sync and may query."""

    # (user, key) -> whether the user may learn of changes.
    may_watch: Callable[[Any, str], bool]
    # (keys) -> {key: version}, from 0; keys that are gone are left out.
    versions: Callable[[list[str]], dict[str, int]]


_registry: dict[str, Topic] = {}


def topic(
    name: str,
    *,
    may_watch: Callable[[Any, str], bool],
    versions: Callable[[list[str]], dict[str, int]],
) -> None:
    """Register the topics "<name>:<key>"."""
    _registry[name] = Topic(may_watch, versions)


def find(topic_name: str) -> tuple[Topic, str] | None:
    """The registered kind and the key of "<name>:<key>", or None."""
    name, _, key = topic_name.partition(":")
    kind = _registry.get(name)
    return (kind, key) if kind and key else None


def current_versions(topic_names: list[str]) -> dict[str, int]:
    """Versions of the given topics as the database has them; one query for each kind."""
    keys: dict[str, list[str]] = {}
    for topic_name in topic_names:
        name, _, key = topic_name.partition(":")
        keys.setdefault(name, []).append(key)
    return {
        f"{name}:{key}": version
        for name, wanted in keys.items()
        if name in _registry
        for key, version in _registry[name].versions(wanted).items()
    }


def gone(topic_name: str) -> None:
    """Say that a topic is no more: who watches it is asked again what they may see. As `touch`."""
    touch(topic_name, GONE)


def touch(topic_name: str, version: int) -> None:
    """Say that a topic reached `version`; call it after the commit, from any thread."""
    from .hub import running_hub

    hub = running_hub()
    if hub is not None:
        hub.touch_threadsafe(topic_name, version)
    else:
        from .doorbell import ring_outside

        ring_outside(topics={topic_name: version})

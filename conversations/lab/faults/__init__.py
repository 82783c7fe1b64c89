"""The faults, by the numbers of the fault table in docs/reliability.md; a module for each kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

from ..run import Run
from ..site import SETUPS

MODULES = (
    "processes",
    "restarts",
    "claims",
    "clocks",
    "tabs",
    "crowds",
    "services",
    "databases",
    "providers",
    "answers",
    "chat",
)


@dataclass(frozen=True)
class Fault:
    """A fault, how to inject it, and the site it needs."""

    name: str
    title: str
    inject: Callable[[Run], Awaitable[None]]
    setups: Sequence[str] = SETUPS
    # Environment of the site's processes.
    variables: Mapping[str, str] = field(default_factory=dict)
    # Times among it, in seconds: a tenth of them in a short run.
    times: Mapping[str, float] = field(default_factory=dict)
    # Numbers of processes where they are not the set-up's.
    webs: int | None = None
    workers: int | None = None
    # Whether PostgreSQL keeps the site on a disk of its own, which can be filled.
    small_disk: bool = False
    # Raises Missing where something that it needs beside the services is not installed.
    check: Callable[[], object] | None = None


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    title: str,
    *,
    setups: Sequence[str] = SETUPS,
    variables: Mapping[str, str] | None = None,
    times: Mapping[str, float] | None = None,
    webs: int | None = None,
    workers: int | None = None,
    small_disk: bool = False,
    check: Callable[[], object] | None = None,
) -> Callable[[Callable[[Run], Awaitable[None]]], Callable[[Run], Awaitable[None]]]:
    """Register an async function as the fault `name`, for example "F1" or "F12-30"."""

    def register(inject: Callable[[Run], Awaitable[None]]) -> Callable[[Run], Awaitable[None]]:
        if name in FAULTS:
            raise ValueError(f"Two faults are called {name}.")
        FAULTS[name] = Fault(
            name,
            title,
            inject,
            setups,
            variables or {},
            times or {},
            webs,
            workers,
            small_disk,
            check,
        )
        return inject

    return register


def load() -> dict[str, Fault]:
    """All faults in the order of their numbers."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return dict(sorted(FAULTS.items(), key=lambda item: (int(item[0][1:].split("-")[0]), item[0])))

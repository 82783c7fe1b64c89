"""What trees of processes have cost so far, from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def trees(roots: Iterable[int]) -> list[int]:
    """The processes `roots` and all their living descendants."""
    parents = {}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int(stat_fields(int(process.name))[1])
    found = list(roots)
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def stat_fields(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third one, the state, on. Raises OSError."""
    # The name in the second field may hold spaces; the rest stands behind its last bracket.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the trees, with what their ended children took."""
    ticks = 0
    for pid in trees(roots):
        with suppress(OSError):
            # utime, stime, cutime, cstime: fields 14 to 17 of proc(5).
            ticks += sum(int(field) for field in stat_fields(pid)[11:15])
    return ticks / TICKS_PER_SECOND


def rss_mib(roots: Iterable[int], field: str = "VmRSS") -> float:
    """Resident memory of the trees in MiB; `field` VmHWM is its peak since `reset_peak`."""
    kib = 0
    for pid in trees(roots):
        with suppress(OSError):
            lines = (PROC / str(pid) / "status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib / 1024


def reset_peak(roots: Iterable[int]) -> None:
    """Let VmHWM start anew from what is resident now (proc(5), clear_refs)."""
    for pid in trees(roots):
        (PROC / str(pid) / "clear_refs").write_text("5")

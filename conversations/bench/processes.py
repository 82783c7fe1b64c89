"""What a tree of processes has cost so far, from /proc (Linux)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    parents = {}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int(stat_fields(int(process.name))[1])
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def stat_fields(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third one, the state, on. Raises OSError."""
    # The name in the second field may hold spaces; the rest stands behind its last bracket.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def cpu_seconds(root: int) -> float:
    """User and system time of the tree, with what its ended children took."""
    ticks = 0
    for pid in tree(root):
        with suppress(OSError):
            # utime, stime, cutime, cstime: fields 14 to 17 of proc(5).
            ticks += sum(int(field) for field in stat_fields(pid)[11:15])
    return ticks / TICKS_PER_SECOND


def rss_mib(root: int, field: str = "VmRSS") -> float:
    """Resident memory of the tree in MiB; `field` VmHWM is its peak since `reset_peak`."""
    kib = 0
    for pid in tree(root):
        with suppress(OSError):
            lines = (PROC / str(pid) / "status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib / 1024


def reset_peak(root: int) -> None:
    """Let VmHWM start anew from what is resident now (proc(5), clear_refs)."""
    for pid in tree(root):
        (PROC / str(pid) / "clear_refs").write_text("5")

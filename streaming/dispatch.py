"""Who calls `run_stream`: this process's supervisor where one runs, else another's sweep."""

from __future__ import annotations

from uuid import UUID


def request_start(stream_id: UUID, owner_id: object = None) -> None:
    """Ask for a stream whose start is committed to run now; from any thread.

    Without a supervisor in this process it is claimed by the next sweep of one that has.
    """
    from .supervisor import running_supervisor

    supervisor = running_supervisor()
    if supervisor is not None:
        supervisor.request_threadsafe(stream_id, owner_id)

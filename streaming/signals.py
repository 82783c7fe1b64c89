"""What happens to a process, for apps that want to know."""

from __future__ import annotations

from django.dispatch import Signal

# Sent once in a process that generates, before its first stream: what takes time to load is loaded
# here, not while somebody waits for the first answer.
runner_starting = Signal()

"""What a server process loads before it listens, so that nobody's first answer waits for it."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from django.conf import settings
from django.template.loader import get_template

# glibc's M_ARENA_MAX (malloc.h): how many heaps the threads of a process share.
M_ARENA_MAX = -8
ARENAS = 2


def limit_memory_arenas() -> None:
    """Let all threads share two heaps; glibc's default of eight a core only keeps memory."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, ARENAS)


def warm_up() -> None:
    """Import and compile what the first page and the first answer need."""
    from conversations.answers import renderer
    from conversations.providers import transport  # noqa: F401 - aiohttp takes 0.3 s

    folder = settings.BASE_DIR / "templates"
    for file in folder.glob("conversations/*.html"):
        get_template(str(file.relative_to(folder)))
    # The scanner, the sanitiser, and the colours' rules for the language that is asked for most.
    renderer.live("One paragraph.\n\n```python\nprint('hello')\n```\n").finish()
    # What is loaded by now lives as long as the process: the collector need not visit it.
    gc.collect()
    gc.freeze()

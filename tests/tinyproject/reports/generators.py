from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import streaming
from streaming.models import Stream


def everyone(user: Any, stream: Stream) -> bool:
    """The reports are public."""
    return True


@streaming.generator("reports.summary", may_read=everyone)
async def summary(stream: Stream, params: dict[str, Any], text: str) -> AsyncIterator[str]:
    """Ten lines about the subject, a line at a time."""
    for number in range(10):
        yield f"{number}: {params['subject']} & more\n"
        await asyncio.sleep(0.01)

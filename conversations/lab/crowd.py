"""Many tabs: each keeps what it is sent, and what was sent to several is applied once, later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import aiohttp

from .dom import Element, parse
from .tab import Tab
from .watched import Watched


class LightTab(Tab):
    """A tab of a crowd on one answer: holds positions and numbers to be right at each frame."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept: list[tuple[tuple[Any, ...], str]] = []
        # Handshakes that were refused, and with what.
        self.refusals: list[int] = []
        # Not set before it may follow its answer.
        self.may_follow = asyncio.Event()

    def draw(self, place: Element) -> None:
        """Stand where a page did that was drawn with `place` for its answer."""
        attributes = " ".join(f'{name}="{value}"' for name, value in place.attributes.items())
        self.document = parse(f"<div {attributes}></div>")

    async def _live(self) -> None:
        try:
            await super()._live()
        except aiohttp.WSServerHandshakeError as error:
            self.refusals.append(error.status)
            raise

    async def _follow(self, element: Element) -> None:
        await self.may_follow.wait()
        await super()._follow(element)

    def _put(self, header: dict[str, Any], fragments: str) -> None:
        self.kept.append((tuple(header.items()), fragments))

    def _finish(self, element: Element) -> None:
        """Its HTML is known when the frames are applied."""

    def _check_shown(self) -> None:
        element = self.document.find(f"stream-{self.watched.stream}")
        assert element is not None
        self.watched.saw(self.sight, int(element.get("data-end")))


async def apply_kept(watched: Watched, tabs: Sequence[LightTab], page: str) -> None:
    """Apply what the tabs were sent to the page they began with: each sequence of frames once.

    The tab that applies it is one more observer, held against the oracle at every frame; those that
    were sent the same show the same.
    """
    alike: defaultdict[tuple[Any, ...], list[LightTab]] = defaultdict(list)
    for tab in tabs:
        alike[tuple((_without_numbers(header), html) for header, html in tab.kept)].append(tab)
    for sequence, members in alike.items():
        replay = Tab(watched)
        replay.document = parse(page)
        for header, html in sequence:
            await replay._apply(dict(header), html)
        for tab in members:
            tab.sight.final_html = replay.sight.final_html


def _without_numbers(header: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(item for item in header if item[0] not in ("g", "n", "topics"))

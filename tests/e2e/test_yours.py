"""What a chat is called, and what its owner takes along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import ANSWER
from .test_sidebar import choose, row, start_chat

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("more_env", [{"MODEL_TITLES": "True"}], ids=["titles"])
def test_the_model_writes_the_title_and_every_tab_shows_it(
    context: BrowserContext, page: Page
) -> None:
    """Asked for a title the scripted provider says what it always says: its first line is taken."""
    other = context.new_page()
    start_chat(page, "What stays of an answer?")
    other.goto(page.url)
    for tab in (page, other):
        tab.wait_for_selector(".chat-head h1:has-text('Streams that last')")
        tab.wait_for_selector(row("Streams that last"))
        tab.wait_for_function("() => document.title === 'Streams that last · chatsite'")


@pytest.mark.parametrize(("item", "suffix"), [("as text", "md"), ("as JSON", "json")])
def test_a_chat_is_downloaded_from_its_menu(page: Page, item: str, suffix: str) -> None:
    start_chat(page, "서울에서 무엇을 볼까?")
    with page.expect_download() as download:
        choose(page, "서울에서", item)
    assert download.value.suggested_filename.endswith(f".{suffix}")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    if suffix == "md":
        assert "서울에서 무엇을 볼까?" in text
        assert ANSWER in text
    else:
        asked, answered = json.loads(text)["messages"]
        assert (asked["content"], answered["content"]) == ("서울에서 무엇을 볼까?", ANSWER)
    # The page stays what it was.
    page.wait_for_selector(".message-assistant h1:has-text('Streams that last')")


def test_a_korean_word_is_found_though_it_carries_a_particle(page: Page) -> None:
    start_chat(page, "서울에서는 무엇을 볼까?")
    page.fill("#search", "서울")
    page.wait_for_selector("#sidebar-list .result-link mark:has-text('서울')")
    page.fill("#search", "무엇을 서울에서")
    page.wait_for_selector(
        ".search-results:has(mark:text-is('무엇을')):has(mark:text-is('서울에서'))"
    )

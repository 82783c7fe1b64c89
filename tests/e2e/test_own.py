"""What is a person's own: their chats and their account, deleted; how pages look to a visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .test_sidebar import row, start_chat
from .test_story import RUNNING, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.services import Server

pytestmark = pytest.mark.e2e


# --- All chats


def test_all_chats_go_in_every_tab_and_one_undo_brings_them_back(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "The first chat")
    page.goto("/")
    ask(page, "The second chat", "slow")
    page.wait_for_selector(RUNNING)
    other = context.new_page()
    other.goto(page.url)
    page.click("[aria-label=Settings]")
    page.click("text=Delete all chats")
    page.wait_for_selector("text=2 chats are deleted")
    page.click("text=Delete 2 chats")
    page.wait_for_selector("#toast >> text=2 chats were deleted.")
    shot(page, "own-all-deleted")
    for tab in (page, other):
        tab.wait_for_selector("text=No conversations yet")
    other.wait_for_selector("#composer-error:has-text('This chat is no longer there.')")
    page.click("#toast >> text=Undo")
    for tab in (page, other):
        tab.wait_for_selector(row("The first chat"))
        tab.wait_for_selector(row("The second chat"))
    other.wait_for_selector("text=Stopped.")
    assert page.locator("#toast >> text=Undo").count() == 0


def test_all_chats_go_and_come_back_without_a_script(server: Server, browser: Browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    for text in ("One", "Two"):
        page.goto("/")
        page.select_option("select[name=model]", "openai:quick")
        page.fill("#composer-text", text)
        page.click("#composer button.send-button")
    page.goto("/settings/")
    page.click("text=Delete all chats")
    page.click("text=Delete 2 chats")
    page.wait_for_selector("text=No conversations yet")
    page.click("#toast >> text=Undo")
    page.wait_for_selector(row("One"))
    page.wait_for_selector(row("Two"))
    context.close()

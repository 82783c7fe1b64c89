"""What is a person's own: their chats and their account, deleted; how pages look to a visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import wait_until

from .conftest import count
from .test_delete import TABLES as TABLES_OF_CHATS
from .test_sidebar import row, start_chat
from .test_story import RUNNING, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.services import Server

pytestmark = pytest.mark.e2e

TABLES = (*TABLES_OF_CHATS, "accounts_user", "django_session")


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
    page.wait_for_selector("text=2 chats will be deleted")
    page.click("text=Delete 2 chats")
    page.wait_for_selector("#toast >> text=2 chats were deleted.")
    shot(page, "own-all-deleted")
    for tab in (page, other):
        tab.wait_for_selector("text=No conversations yet")
    other.wait_for_selector("#composer-error:has-text('This chat no longer exists.')")
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


# --- A person


def drafts(page: Page) -> int:
    return page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('draft:')).length")


def test_an_account_goes_with_everything_and_every_tab_is_signed_out(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/accounts/sign-up/")
    page.fill("[name=email]", "ann@example.com")
    for name in ("password1", "password2"):
        page.fill(f"[name={name}]", "correct horse battery staple")
    page.click("main form .button-primary")
    page.wait_for_selector(".sidebar")
    ask(page, "Forget me", "slow")
    page.wait_for_selector(RUNNING)
    page.fill("#composer-text", "A secret draft")
    other = context.new_page()
    other.goto(page.url)
    other.wait_for_selector(RUNNING)
    assert drafts(page)
    page.click("[aria-label=Settings]")
    page.click("text=Delete my account")
    page.wait_for_selector("text=1 chat will be deleted")
    page.fill("[name=password]", "wrong")
    page.click("main .button-danger")
    page.wait_for_selector("text=Wrong password.")
    shot(page, "own-wrong-password")
    page.fill("[name=password]", "correct horse battery staple")
    page.click("main .button-danger")
    page.wait_for_selector("text=Your data is gone.")
    assert not drafts(page)
    for table in TABLES:
        wait_until(lambda table=table: count(server, table) == 0, f"{table} is empty")
    # The other tab shows a person who is no more: its socket is closed, and it says so.
    other.wait_for_selector(".streaming-connection")
    other.reload()
    other.wait_for_selector("text=There is nothing here.")
    page.click("text=Go to the start page")
    page.wait_for_selector("text=Sign in anonymously")


def test_a_guest_goes_without_a_script(server: Server, browser: Browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.fill("#composer-text", "Forget me")
    page.click("#composer button.send-button")
    page.goto("/settings/")
    page.click("text=Delete all my data")
    page.click("main .button-danger")
    page.wait_for_selector("text=Your data is gone.")
    for table in TABLES:
        wait_until(lambda table=table: count(server, table) == 0, f"{table} is empty")
    context.close()


# --- How pages look to a visitor


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("has_script", [True, False])
def test_a_visitor_chooses_how_pages_look_and_keeps_it_as_a_guest(
    server: Server, browser: Browser, has_script: bool, shot: Callable[..., None]
) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=has_script)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    light = background(page)
    page.click(".looks >> text=Dark")
    page.wait_for_selector("[data-theme=dark]")
    assert background(page) != light
    assert page.get_attribute(".looks [name=theme][value=dark]", "aria-pressed") == "true"
    page.click("text=Sign in >> nth=0")
    page.click(".looks >> text=한국어")
    page.wait_for_selector("html[lang=ko][data-theme=dark]")
    assert page.url.endswith("/accounts/sign-in/")
    shot(page, f"own-looks-{has_script}")
    page.goto("/")
    page.fill("#composer-text", "안녕하세요")
    page.click("#composer button.send-button")
    page.wait_for_selector(".message-assistant")
    page.goto("/settings/")
    assert page.input_value("#id_theme") == "dark"
    assert page.input_value("#id_language") == "ko"
    assert page.locator(".looks").count() == 0
    context.close()

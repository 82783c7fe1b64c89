"""The list of chats: a menu for each, a title written in place, the archive, undo, unread marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import Server, wait_until

from .conftest import count
from .test_continue import LOOKS, put_on
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

TITLE = ".rename-form [name=title]"


def start_chat(page: Page, text: str, model: str = "quick") -> None:
    """A new chat whose answer has ended."""
    page.goto("/")
    ask(page, text, model)
    page.wait_for_selector(ENDED)


def row(title: str) -> str:
    return f".sidebar li:has-text('{title}')"


def choose(page: Page, title: str, item: str) -> None:
    """Choose from the menu of a row, by the pointer."""
    page.hover(row(title))
    page.click(f"{row(title)} .row-more")
    page.click(f"#chat-menu >> text={item}")


def test_a_chat_is_renamed_in_place_and_every_tab_shows_it(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "The first words")
    other = context.new_page()
    other.goto(page.url)
    # By the keyboard alone.
    page.focus(f"{row('The first words')} .chat-link")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-menu:popover-open")
    shot(page, "sidebar-menu")
    page.keyboard.press("Enter")
    page.wait_for_selector(TITLE)
    assert page.evaluate("document.activeElement.name") == "title"
    page.keyboard.type("Other words")
    page.keyboard.press("Escape")
    page.wait_for_selector(TITLE, state="detached")
    assert page.evaluate("document.activeElement.className") == "chat-link"
    choose(page, "The first words", "Rename")
    page.wait_for_selector(TITLE)
    page.keyboard.type("w" * 300)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The title is too long: 300 characters, at most 200 are allowed.")
    shot(page, "sidebar-rename-refused")
    assert page.input_value(TITLE) == "w" * 300
    assert page.evaluate("document.activeElement.name") == "title"
    page.fill(TITLE, "서울 여행")
    page.keyboard.press("Enter")
    for tab in (page, other):
        tab.wait_for_selector(row("서울 여행"))
        tab.wait_for_selector(".chat-head h1:has-text('서울 여행')")
        tab.wait_for_function("() => document.title === '서울 여행 · chatsite'")
    assert page.locator(TITLE).count() == 0


def test_a_title_that_is_being_written_outlives_a_new_list(
    server: Server, context: BrowserContext, page: Page
) -> None:
    start_chat(page, "The first chat")
    choose(page, "The first chat", "Rename")
    page.wait_for_selector(TITLE)
    page.keyboard.type("Half a tit")
    other = context.new_page()
    page.evaluate(
        "() => document.addEventListener('streaming:changed', () => (window.wasTold = true))"
    )
    start_chat(other, "The second chat")
    page.wait_for_function("() => window.wasTold")
    assert page.input_value(TITLE) == "Half a tit"
    page.keyboard.type("le")
    page.keyboard.press("Escape")
    page.wait_for_selector(row("The second chat"))
    page.wait_for_selector(row("The first chat"))


def test_chats_are_pinned_and_archived_in_every_tab(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "The first chat")
    start_chat(page, "The second chat")
    other = context.new_page()
    other.goto("/")
    choose(page, "The first chat", "Pin")
    for tab in (page, other):
        tab.wait_for_selector("h2:has-text('Pinned') + ul >> text=The first chat")
    shot(page, "sidebar-pinned")
    choose(page, "The second chat", "Archive")
    for tab in (page, other):
        tab.wait_for_selector(row("The second chat"), state="detached")
        tab.click(".sidebar-more:has-text('Archived')")
        tab.wait_for_selector(row("The second chat"))
        assert tab.locator(row("The first chat")).count() == 0
    shot(page, "sidebar-archive")
    choose(page, "The second chat", "Unarchive")
    for tab in (page, other):
        tab.wait_for_selector("text=The archive is empty.")
        tab.click(".sidebar-back")
        tab.wait_for_selector(row("The second chat"))


def test_a_chat_deleted_while_it_runs_comes_back_stopped(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    # A character each 50 ms: it runs for as long as the test looks on.
    ask(page, "Delete me\n" + "word " * 400)
    seen = wait_for_text(page, 60)
    path = page.evaluate("location.pathname")
    other = context.new_page()
    other.goto(page.url)
    other.wait_for_selector(RUNNING)
    choose(page, "Delete me", "Delete")
    page.wait_for_selector("#toast >> text=Undo")
    page.wait_for_function("() => location.pathname === '/'")
    for tab in (page, other):
        tab.wait_for_selector(row("Delete me"), state="detached")
    other.wait_for_selector("#composer-error:has-text('This chat no longer exists.')")
    shot(page, "sidebar-deleted")
    page.click("#toast >> text=Undo")
    page.wait_for_selector("text=Stopped.")
    assert page.evaluate("location.pathname") == path
    assert page.locator("#toast >> text=Undo").count() == 0
    page.wait_for_selector(row("Delete me"))
    assert page.locator(".message-assistant .stream-body").inner_text().startswith(seen[:60])
    other.wait_for_selector(row("Delete me"))
    # The page that had lost it has it again, whatever it said.
    other.wait_for_selector("text=Stopped.")
    assert other.locator("#composer-error").inner_text() == ""
    # Nothing is lost of it: the answer goes on.
    before = len(wait_for_text(page))
    page.click("text=Continue")
    page.wait_for_selector(RUNNING)
    wait_for_text(page, before)


def test_undo_from_the_list_does_not_move_the_reader(server: Server, page: Page) -> None:
    start_chat(page, "Not this one")
    start_chat(page, "I read this")
    path = page.evaluate("location.pathname")
    choose(page, "Not this one", "Delete")
    page.wait_for_selector(row("Not this one"), state="detached")
    assert page.evaluate("location.pathname") == path
    page.click("#toast >> text=Undo")
    page.wait_for_selector(row("Not this one"))
    assert page.evaluate("location.pathname") == path
    assert page.locator("#toast >> text=Undo").count() == 0


@pytest.mark.parametrize("more_env", [{"UNDO_SECONDS": "1"}])
def test_a_deleted_chat_goes_for_good_when_undo_is_over(server: Server, page: Page) -> None:
    start_chat(page, "Delete me")
    choose(page, "Delete me", "Delete")
    page.wait_for_selector("#toast >> text=Undo")
    wait_until(lambda: not count(server, "conversations_conversation"), "the chat is removed")
    assert count(server, "conversations_message") == 0
    page.click("#toast >> text=Undo")
    page.wait_for_selector("text=This chat no longer exists.")


def test_an_answer_that_ends_elsewhere_is_marked_until_it_is_opened(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    ask(page, "Read me later", "brief")
    page.wait_for_selector(RUNNING)
    # Before it ends.
    page.click(".new-chat")
    other = context.new_page()
    other.goto("/")
    for tab in (page, other):
        tab.wait_for_selector(f"{row('Read me later')} .unread-mark")
    shot(page, "sidebar-unread")
    page.click(f"{row('Read me later')} .chat-link")
    for tab in (page, other):
        tab.wait_for_selector(f"{row('Read me later')} .unread-mark", state="detached")
    # A page that shows the end marks nothing, whatever list it fetches afterwards.
    ask(page, "And this?")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    page.wait_for_selector(ENDED)
    other.reload()
    other.wait_for_selector(f"{row('Read me later')}:not(:has(.unread-mark, .running-mark))")
    page.reload()
    assert page.locator(".unread-mark").count() == 0


def test_days_are_those_of_the_browser_from_the_first_page_on(server: Server, browser) -> None:
    context = browser.new_context(base_url=server.url, timezone_id="Asia/Seoul")
    context.set_default_timeout(20_000)
    page = context.new_page()
    start_chat(page, "Where am I?")
    page.wait_for_selector(f"{row('Where am I?')} time[datetime$='+09:00']")
    context.close()


def test_without_javascript_a_chat_is_renamed_archived_and_brought_back(
    server: Server, browser, shot: Callable[..., None]
) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    page.fill("#composer-text", "Plain HTML")
    page.click("#composer button.send-button")
    page.hover(row("Plain HTML"))
    page.click(".row-more")
    shot(page, "sidebar-plain-edit")
    page.fill(TITLE, "x" * 10_000)
    page.click(".rename-form button")
    assert page.locator("text=The title is too long: 10,000 characters").is_visible()
    assert page.input_value(TITLE) == "x" * 10_000
    page.fill(TITLE, "Renamed")
    page.click(".rename-form button")
    page.wait_for_selector("h1:has-text('Renamed')")
    page.hover(row("Renamed"))
    page.click(".row-more")
    page.click("text=Archive")
    page.click(".sidebar-more:has-text('Archived')")
    page.hover(row("Renamed"))
    page.click(".row-more")
    page.click("text=Delete")
    page.click("text=Undo")
    page.wait_for_selector("h1:has-text('Renamed')")
    context.close()


def test_the_list_looks_right_in_both_themes_and_on_phones(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "Plans for a week in Seoul, with children and rain, in every detail")
    start_chat(page, "A short one")
    choose(page, "A short one", "Pin")
    page.wait_for_selector("h2:has-text('Pinned')")
    for look in LOOKS:
        put_on(page, look)
        if look.width < 900:
            page.click(".drawer-open")
        page.wait_for_selector(".chat-link", state="visible")
        page.hover(row("Plans"))
        page.click(f"{row('Plans')} .row-more")
        page.wait_for_selector("#chat-menu:popover-open")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot(page, f"sidebar-{look.theme}-{look.width}")
        page.keyboard.press("Escape")
        # Esc closed the menu alone.
        page.wait_for_selector("#chat-menu:popover-open", state="detached")

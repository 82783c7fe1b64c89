"""Follow-ups that are sent while an answer runs: rows of the server, in every tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import Server, wait_until

from .conftest import count
from .test_continue import LOOKS, put_on
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.e2e

COMPOSER = "#composer-text"
WAITING = ".queued-text"


def send(page: Page, text: str) -> None:
    """Send by the keyboard; it is stored when the composer is empty again."""
    page.fill(COMPOSER, text)
    page.press(COMPOSER, "Enter")
    page.wait_for_function("() => document.querySelector('#composer-text').value === ''")


def wait_for_queue(page: Page, *texts: str) -> None:
    page.wait_for_function(
        "texts => JSON.stringify([...document.querySelectorAll('.queued-text')]"
        ".map(one => one.textContent)) === JSON.stringify(texts)",
        arg=list(texts),
    )


def bubbles(page: Page) -> list[str]:
    return page.locator(".bubble").all_text_contents()


def wait_for_bubbles(page: Page, number: int) -> None:
    page.wait_for_function(
        "number => document.querySelectorAll('.bubble').length === number", arg=number
    )


def test_follow_ups_wait_in_every_tab_and_are_sent_one_after_the_other(
    context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page, "First")
    wait_for_text(page)
    # What waits is answered by the model that is chosen then.
    page.select_option("select[name=model]", "openai:brief")
    page.wait_for_selector("option[value='openai:brief'][selected]", state="attached")
    other = context.new_page()
    other.goto(page.url)
    page.focus(COMPOSER)
    send(page, "Second")
    assert page.evaluate("document.activeElement.id") == "composer-text"
    send(other, "Third")
    for tab in (page, other):
        wait_for_queue(tab, "Second", "Third")
        assert bubbles(tab) == ["First"]
    for look in LOOKS:
        put_on(other, look)
        shot(other, f"queue-{look.theme}-{look.width}")
    for tab in (page, other):
        wait_for_bubbles(tab, 2)
        wait_for_queue(tab, "Third")
    page.wait_for_selector(RUNNING)
    assert page.locator(".stop-form").count() == 1
    for tab in (page, other):
        wait_for_bubbles(tab, 3)
        wait_for_queue(tab)
        assert bubbles(tab) == ["First", "Second", "Third"]
        tab.wait_for_selector(ENDED)


def test_a_follow_up_is_sent_while_no_browser_is_open(
    server: Server, context: BrowserContext, page: Page
) -> None:
    ask(page, "First")
    wait_for_text(page)
    send(page, "Second")
    url = page.url
    page.close()
    wait_until(
        lambda: count(server, "conversations_message") == 4, "the follow-up is sent", seconds=40
    )
    back = context.new_page()
    back.goto(url)
    assert bubbles(back) == ["First", "Second"]


def test_a_follow_up_is_edited_and_withdrawn_by_the_keyboard(page: Page) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    ask(page, "Words " * 60)
    wait_for_text(page)
    send(page, "Second")
    # The newest that waits is the last message.
    page.press(COMPOSER, "ArrowUp")
    page.wait_for_selector(".queued textarea")
    assert page.input_value(".queued textarea") == "Second"
    page.keyboard.type(", better")
    page.keyboard.press("Enter")
    wait_for_queue(page, "Second, better")
    assert page.evaluate("document.activeElement.id") == "composer-text"
    page.press(COMPOSER, "ArrowUp")
    page.wait_for_selector(".queued textarea")
    page.keyboard.type(" or not")
    page.keyboard.press("Escape")
    wait_for_queue(page, "Second, better")
    page.focus(".queued [aria-label=Withdraw]")
    page.keyboard.press("Enter")
    wait_for_queue(page)
    assert page.locator(".stop-form").count() == 1


def test_of_two_editors_the_second_is_told_and_keeps_the_text(
    context: BrowserContext, page: Page
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    ask(page, "Words " * 60)
    wait_for_text(page)
    send(page, "Second")
    other = context.new_page()
    other.goto(page.url)
    for tab in (page, other):
        tab.click(".queued-open")
        tab.wait_for_selector(".queued textarea")
    page.fill(".queued textarea", "By the first")
    other.fill(".queued textarea", "By the second")
    page.press(".queued textarea", "Enter")
    wait_for_queue(page, "By the first")
    other.wait_for_selector(".queued .field-error:has-text('in the meantime')")
    other.press(".queued textarea", "Enter")
    other.wait_for_selector(
        ".queued .field-error:has-text('This message was changed in another tab')"
    )
    assert other.input_value(".queued textarea") == "By the second"
    other.press(".queued textarea", "Enter")
    for tab in (page, other):
        wait_for_queue(tab, "By the second")


def test_a_stop_holds_the_queue_until_it_is_sent_by_hand(
    context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page, "First")
    wait_for_text(page)
    send(page, "Second")
    send(page, "Third")
    wait_for_queue(page, "Second", "Third")
    page.press(COMPOSER, "Escape")
    page.wait_for_selector("text=Send now")
    other = context.new_page()
    other.goto(page.url)
    for look in LOOKS:
        put_on(other, look)
        shot(other, f"queue-held-{look.theme}-{look.width}")
    page.locator("text=Send now").last.click()
    for tab in (page, other):
        wait_for_bubbles(tab, 2)
        wait_for_queue(tab, "Second")
        assert bubbles(tab) == ["First", "Third"]


def test_a_retry_takes_the_queue_along(page: Page) -> None:
    ask(page, "First")
    wait_for_text(page)
    send(page, "Second")
    page.press(COMPOSER, "Escape")
    page.wait_for_selector("text=Send now")
    page.click(".message-assistant .actions >> text=Retry")
    page.wait_for_selector(RUNNING)
    wait_for_queue(page, "Second")
    assert page.locator("text=Send now").count() == 0
    wait_for_bubbles(page, 2)
    assert page.locator(".variants").first.inner_text().strip() == "2/2"


def test_without_a_script_it_waits_is_edited_and_withdrawn(
    browser: Browser, server: Server
) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=server.url)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    page.fill(COMPOSER, "Words " * 60)
    page.click(".composer .send-button")
    page.fill(COMPOSER, "Second")
    page.click(".composer .send-button")
    page.fill(COMPOSER, "Third")
    page.click(".composer .send-button")
    assert page.locator(WAITING).all_inner_texts() == ["Second", "Third"]
    page.locator(".queued-open").last.click()
    page.fill(".queued textarea", "Third, better")
    page.click(".queued .edit-send")
    assert page.locator(WAITING).all_inner_texts() == ["Second", "Third, better"]
    page.locator("[aria-label=Withdraw]").first.click()
    assert page.locator(WAITING).all_inner_texts() == ["Third, better"]
    page.click(".stop-form button")
    page.click("text=Send now")
    assert page.locator(WAITING).count() == 0
    assert page.locator(".bubble").last.inner_text() == "Third, better"
    context.close()

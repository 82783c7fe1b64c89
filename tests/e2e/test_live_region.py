"""What a screen reader is told of an answer, and where the focus is meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .test_page import COMPOSER, stop
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

STARTED = "The answer has started."
DONE = "The answer is complete."
# Every change of what any live region says, also of one that comes into the page with words; and
# each move of the focus.
WATCH = """
window.told = [];
window.focused = [];
const LIVE = "[role=status], [role=alert], [aria-live=polite], [aria-live=assertive]";
const known = new WeakMap();
new MutationObserver(() => {
  for (const region of document.querySelectorAll(LIVE)) {
    const text = region.hidden ? "" : region.textContent.trim();
    if (text !== (known.get(region) ?? "")) told.push(text);
    known.set(region, text);
  }
}).observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
for (const type of ["focusin", "focusout"]) {
  document.addEventListener(type, ({ target }) => focused.push(`${type} ${target.id}`));
}
"""


@pytest.fixture
def page(page: Page) -> Page:
    page.add_init_script(WATCH)
    return page


def told(page: Page) -> list[str]:
    return page.evaluate("told")


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.className")


def forget(page: Page) -> None:
    page.evaluate("told.length = focused.length = 0")


def wait_for_end(page: Page) -> None:
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")


def test_an_answer_is_told_twice_and_moves_no_focus(page: Page) -> None:
    ask(page, model="quick")
    wait_for_end(page)
    # In a chat that stands, too.
    forget(page)
    ask(page, "And once more")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    page.wait_for_function("() => told.length >= 2")
    wait_for_end(page)
    assert told(page) == [STARTED, DONE]
    assert page.evaluate("focused") == []
    assert focused(page) == "composer-text"


def test_the_first_answer_of_a_newcomer_is_told_too(page: Page) -> None:
    ask(page, model="brief")
    wait_for_text(page, 40)
    assert told(page) == [STARTED]
    wait_for_end(page)
    assert told(page) == [STARTED, DONE]
    assert focused(page) == "composer-text"


def test_streaming_text_is_in_no_live_region(page: Page) -> None:
    ask(page)
    wait_for_text(page)
    live = "[role=status], [role=alert], [role=log]:not([aria-live=off]), [aria-live=polite]"
    assert page.evaluate(f"document.querySelector('.stream-body').closest('{live}')") is None
    stop(page)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("cut", "The connection to the provider was lost."),
        ("limited", "The provider refused: rate limit, try again in 60 s."),
        ("short", "The answer reached its length limit."),
    ],
)
def test_an_answer_that_ends_early_is_told_with_the_reason(
    page: Page, model: str, sentence: str
) -> None:
    ask(page, model=model)
    wait_for_end(page)
    page.wait_for_function("() => told.length === 2")
    assert told(page) == [STARTED, sentence]
    assert page.locator(".actions-shown .state").inner_text() == sentence


def test_a_stopped_answer_and_the_retry_are_told_once_each(page: Page) -> None:
    ask(page)
    wait_for_text(page, 20)
    stop(page)
    # The end comes by another way than what takes the button away.
    page.wait_for_function("() => told.length >= 2")
    assert told(page) == [STARTED, "Stopped."]
    forget(page)
    page.click("text=Retry")
    page.wait_for_selector(RUNNING)
    wait_for_text(page, 20)
    assert told(page) == [STARTED]
    stop(page)
    assert told(page) == [STARTED, "Stopped."]


def test_another_chat_is_not_told_of_the_answer_that_was_left(page: Page) -> None:
    ask(page)
    wait_for_text(page)
    page.click(".new-chat")
    page.wait_for_selector(".start")
    assert told(page) == [STARTED]


def test_the_focus_of_a_button_that_goes_comes_to_the_composer(page: Page) -> None:
    ask(page)
    wait_for_text(page)
    page.focus(".stop-form button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Stopped.")
    assert focused(page) == "composer-text"
    page.focus("text=Retry")
    page.keyboard.press("Enter")
    page.wait_for_selector(RUNNING)
    assert focused(page) == "composer-text"
    stop(page)
    page.fill(COMPOSER, "Sent by its button")
    page.click("#composer .send-button")
    page.wait_for_selector(".bubble:has-text('Sent by its button')")
    page.wait_for_selector(RUNNING)
    assert focused(page) == "composer-text"


def test_the_end_of_an_answer_leaves_the_focus_where_the_reader_put_it(page: Page) -> None:
    ask(page, model="brief")
    wait_for_text(page)
    page.focus("#search")
    forget(page)
    wait_for_end(page)
    assert page.evaluate("focused") == []
    assert focused(page) == "search"


def test_the_focus_on_stop_comes_to_the_composer_when_the_answer_ends_by_itself(page: Page) -> None:
    ask(page, model="brief")
    wait_for_text(page)
    page.focus(".stop-form button")
    wait_for_end(page)
    assert focused(page) == "composer-text"

"""What a screen reader is told of an answer, and where the focus is meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.services import Server, wait_until

from .test_branches import NEXT, PREVIOUS, newest, retry, wait_for_other, wait_until_ended
from .test_page import COMPOSER, stop
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

pytestmark = pytest.mark.e2e

STARTED = "The answer has started."
DONE = "The answer is complete."
REFUSED = "The provider refused: rate limit, try again in 60 s."
# Every change of what any live region says, also of one that comes into the page with words; and
# each move of the focus.
WATCH = """
window.told = [];
window.toldAt = 0;
window.focused = [];
const LIVE = "[role=status], [role=alert], [aria-live=polite], [aria-live=assertive]";
const known = new WeakMap();
new MutationObserver(() => {
  for (const region of document.querySelectorAll(LIVE)) {
    const text = region.hidden ? "" : region.textContent.trim();
    if (text !== (known.get(region) ?? "")) toldAt = told.push(text) && performance.now();
    known.set(region, text);
  }
}).observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
for (const type of ["focusin", "focusout"]) {
  document.addEventListener(type, ({ target }) => focused.push(`${type} ${target.id}`));
}
"""


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    context.add_init_script(WATCH)
    return context


def told(page: Page) -> list[str]:
    return page.evaluate("told")


def wait_for_told(page: Page, *sentences: str) -> None:
    """Wait until so many are told, and so long that one more would have taken its place."""
    page.wait_for_function(
        "number => told.length >= number && performance.now() - toldAt > 700", arg=len(sentences)
    )
    assert told(page) == list(sentences)


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
    wait_for_told(page, STARTED, DONE)
    # In a chat that stands, too.
    forget(page)
    ask(page, "And once more")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    wait_for_end(page)
    wait_for_told(page, STARTED, DONE)
    assert page.evaluate("focused") == []
    assert focused(page) == "composer-text"


def test_the_first_answer_of_a_newcomer_is_told_too(page: Page) -> None:
    ask(page, model="brief")
    wait_for_text(page, 40)
    assert told(page) == [STARTED]
    wait_for_end(page)
    wait_for_told(page, STARTED, DONE)
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
        ("limited", REFUSED),
        ("short", "The answer reached its length limit."),
    ],
)
def test_an_answer_that_ends_early_is_told_with_the_reason(
    page: Page, model: str, sentence: str
) -> None:
    ask(page, model=model)
    wait_for_end(page)
    wait_for_told(page, STARTED, sentence)
    assert page.locator(".actions-shown .state").inner_text() == sentence


# --- An answer that is over before its page is drawn


def are_over(server: Server, number: int) -> bool:
    with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection:
        statuses = connection.execute("SELECT status FROM streaming_stream").fetchall()
    return statuses.count(("error",)) == number == len(statuses)


def hold_until_over(page: Page, server: Server, number: int, pattern: str) -> None:
    """What `pattern` fetches comes when so many answers are over; a form is drawn anew for it.

    A form that is sent twice acts once.
    """

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fetch()
        wait_until(partial(are_over, server, number), "The answer is over")
        route.continue_()

    page.route(pattern, answer, times=1)


def wait_for_refusal(page: Page) -> None:
    wait_for_told(page, STARTED, REFUSED)
    forget(page)


def test_an_answer_that_is_over_before_its_page_is_told_all_the_same(
    server: Server, context: BrowserContext, page: Page
) -> None:
    # The first of a newcomer, whose page is loaded whole.
    hold_until_over(page, server, 1, "**/c/*-*/")
    ask(page, model="limited")
    wait_for_refusal(page)
    other = context.new_page()
    other.goto(page.url)
    other.wait_for_selector("text=Retry")
    # In a chat that stands, here and where it is only seen.
    hold_until_over(page, server, 2, "**/messages/")
    hold_until_over(other, server, 2, "**/changes/**")
    ask(page, "And once more")
    wait_for_refusal(page)
    wait_for_refusal(other)
    hold_until_over(page, server, 3, "**/retry/")
    page.click(".message:last-child >> text=Retry")
    wait_for_refusal(page)
    # The first of another chat, put in the start page's place.
    page.click(".new-chat")
    page.wait_for_selector(".start")
    hold_until_over(page, server, 4, "**/c/")
    ask(page, "In another chat", model="limited")
    wait_for_refusal(page)
    # A new chat from a message on.
    hold_until_over(page, server, 5, "**/fork/")
    page.click(".message-user [aria-label='New chat from here']")
    wait_for_refusal(page)
    assert focused(page) == "composer-text"


def test_what_only_comes_into_the_page_is_not_told_as_an_answer(page: Page) -> None:
    ask(page, model="quick")
    wait_until_ended(page)
    first = newest(page)
    retry(page)
    wait_until_ended(page)
    second = newest(page)
    chat = page.url
    wait_for_told(page, STARTED, DONE, STARTED, DONE)
    forget(page)
    page.click(PREVIOUS)
    wait_for_other(page, second)
    page.click(NEXT)
    wait_for_other(page, first)
    # A copy of the chat, and the chat itself again.
    page.click("[aria-label=More]")
    page.click(".more >> text=New chat from here")
    page.wait_for_selector("h1:has-text('Fork of')")
    page.click(f".chat-link[href='{urlsplit(chat).path}']")
    page.wait_for_selector(f"#{second}")
    # Sentences are told in their order: what is told next says that nothing was before it.
    tell_another(page)
    page.reload()
    tell_another(page)


def tell_another(page: Page) -> None:
    ask(page, "And once more")
    wait_for_told(page, STARTED, DONE)
    forget(page)


def test_a_stopped_answer_and_the_retry_are_told_once_each(page: Page) -> None:
    ask(page)
    wait_for_text(page, 20)
    stop(page)
    wait_for_told(page, STARTED, "Stopped.")
    forget(page)
    page.click("text=Retry")
    page.wait_for_selector(RUNNING)
    wait_for_told(page, STARTED)
    stop(page)
    wait_for_told(page, STARTED, "Stopped.")


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

"""What the chat's page does by hand: keys, drafts, scroll, drawer, moving between chats."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.services import Server

from .conftest import ANSWER, count
from .test_story import ENDED, RUNNING, ask, ask_echo, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.e2e

COMPOSER = "#composer-text"


def stop(page: Page) -> None:
    page.press(COMPOSER, "Escape")
    page.wait_for_selector(".stop-form", state="detached")


def scroll_top(page: Page) -> float:
    return page.evaluate("document.querySelector('.scroller').scrollTop")


def forget_conversations(server: Server) -> None:
    """Delete all conversations behind the page's back, without a hint."""
    with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection, connection:
        connection.execute("UPDATE conversations_conversation SET deleted_at = created_at")


def test_shift_enter_breaks_the_line_and_what_is_typed_meanwhile_stays(page: Page) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.focus(COMPOSER)
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    page.keyboard.type("the next words")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    assert page.locator(".bubble").last.inner_text() == "one\ntwo"
    assert page.input_value(COMPOSER) == "the next words"
    assert page.evaluate("document.activeElement.id") == "composer-text"


def test_what_is_typed_while_a_message_waits_for_another_request_is_not_sent(page: Page) -> None:
    held = []
    page.route("**/read/", lambda route: held.append(route), times=1)
    with page.expect_request("**/read/"):
        ask(page, model="quick")
    page.wait_for_selector(".stop-form", state="detached")
    page.focus(COMPOSER)
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type(" and more")
    page.keyboard.press("Enter")
    assert page.locator(".message").count() == 2
    held[0].continue_()
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    assert page.locator(".bubble").last.inner_text() == "one"
    assert page.input_value(COMPOSER) == " and more"


def test_enter_does_not_send_while_a_word_is_composed(page: Page) -> None:
    ask(page)
    wait_for_text(page)
    stop(page)
    page.fill(COMPOSER, "the next words")
    page.eval_on_selector(
        COMPOSER,
        "field => field.dispatchEvent(new KeyboardEvent('keydown',"
        " { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))",
    )
    assert page.locator(".message").count() == 2
    assert page.input_value(COMPOSER) == "the next words"


def test_a_draft_outlives_a_reload_and_belongs_to_its_chat(page: Page) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.fill(COMPOSER, "not sent yet")
    page.reload()
    assert page.input_value(COMPOSER) == "not sent yet"
    page.click(".new-chat")
    page.wait_for_selector(".start")
    assert page.input_value(COMPOSER) == ""


def test_what_was_typed_before_signing_in_comes_along_and_goes_with_its_person(page: Page) -> None:
    page.goto("/")
    page.fill(COMPOSER, "typed before")
    page.click("text=Sign in anonymously")
    page.wait_for_selector(".sidebar")
    assert page.input_value(COMPOSER) == "typed before"
    page.click(".sidebar-foot [aria-label='Sign out']")
    page.click("main form button")
    page.goto("/")
    assert page.input_value(COMPOSER) == ""
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('draft'))") == []


def test_a_message_that_cannot_be_sent_stays_and_is_stored_once(
    server: Server, context: BrowserContext, page: Page
) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")
    # The server takes it, but its answer gets lost on the way back.
    page.route("**/messages/", lambda route: (route.fetch(), route.abort()))
    # The end of the answer, which may come right after it, takes the sentence away.
    page.evaluate(
        "window.said = []; new MutationObserver(() =>"
        " said.push(document.querySelector('#composer-error')?.textContent ?? ''))"
        ".observe(document.body, { childList: true, characterData: true, subtree: true })"
    )
    ask(page, "only once")
    page.wait_for_function("() => said.some((one) => one.includes('Your text is kept'))")
    assert page.input_value(COMPOSER) == "only once"
    page.unroute("**/messages/")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")
    ask(page, "only once")
    page.wait_for_function(f"() => document.querySelector('{COMPOSER}').value === ''")
    assert count(server, "conversations_message") == 4
    assert page.locator(".message").count() == 4


def test_the_page_follows_the_text_only_while_the_reader_is_at_its_end(page: Page) -> None:
    page.set_viewport_size({"width": 900, "height": 420})
    page.goto("/")
    # Echo repeats the lines for half a minute.
    page.select_option("select[name=model]", label="Echo")
    ask(page, "\n\n".join(["a short line"] * 40))
    wait_for_text(page, 40)
    page.wait_for_function("() => document.querySelector('.scroller').scrollTop > 500")
    page.mouse.move(500, 150)
    page.mouse.wheel(0, -80)
    page.wait_for_selector(".to-bottom", state="visible")
    before = scroll_top(page)
    wait_for_text(page, len(page.inner_text(".stream-body")) + 60)
    assert scroll_top(page) == before
    page.click(".to-bottom")
    page.wait_for_selector(".to-bottom", state="hidden")
    assert scroll_top(page) > before


def test_chats_change_without_a_reload_and_back_works(page: Page) -> None:
    ask(page, "The first chat", model="quick")
    page.wait_for_selector(ENDED)
    first = page.url
    page.evaluate("window.sameDocument = true")
    page.click(".new-chat")
    page.wait_for_selector(".start")
    ask(page, "The second chat", model="quick")
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".chat-link[aria-current]:has-text('The second chat')")
    assert page.title() == "The second chat · chatsite"
    page.click(".chat-link:has-text('The first chat')")
    page.wait_for_selector(".chat-head h1:has-text('The first chat')")
    assert page.url == first
    assert page.evaluate("window.sameDocument") is True
    page.go_back()
    page.wait_for_selector(".chat-head h1:has-text('The second chat')")
    page.wait_for_selector(ENDED)


def test_an_answer_that_comes_late_does_not_reach_the_next_chat(page: Page) -> None:
    ask(page, "The first chat", model="quick")
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")
    held = []
    page.route("**/messages/", lambda route: held.append(route))
    ask(page, "A late message")
    page.click(".new-chat")
    page.wait_for_selector(".start")
    ask(page, "The second chat", model="quick")
    page.wait_for_selector(".chat-head h1:has-text('The second chat')")
    with page.expect_response("**/messages/"):
        held[0].continue_()
    page.wait_for_selector(".chat-link >> nth=0 >> text=The first chat")
    assert page.locator(".bubble").all_inner_texts() == ["The second chat"]
    page.click(".chat-link:has-text('The first chat')")
    page.wait_for_selector(".bubble:has-text('A late message')")
    assert page.input_value(COMPOSER) == ""


def test_a_chat_that_is_gone_says_so(server: Server, page: Page) -> None:
    ask(page, "The first chat", model="quick")
    page.wait_for_selector(ENDED)
    page.click(".new-chat")
    page.wait_for_selector(".start")
    page.wait_for_selector(".chat-link:not(:has(.running-mark))")
    forget_conversations(server)
    # At once: a pointer would wait for the transition between two pages, and by then the list may
    # have found out itself.
    page.dispatch_event(".chat-link:has-text('The first chat')", "click")
    page.wait_for_selector("text=There is nothing here.")


def test_an_example_starts_a_chat(page: Page) -> None:
    page.goto("/")
    page.click("text=Compare tea and coffee")
    page.wait_for_selector(".bubble:has-text('Compare tea and coffee in a small table.')")
    page.wait_for_selector(RUNNING)


def test_a_phone_has_the_chats_in_a_drawer_and_nothing_sticks_out(
    server: Server, browser: Browser
) -> None:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    page.fill(COMPOSER, "On a phone")
    page.tap("#composer .send-button")
    page.wait_for_selector(ENDED)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert not page.locator(".chat-link").is_visible()
    page.tap(".drawer-open")
    page.wait_for_selector(".chat-link", state="visible")
    page.tap(".drawer-close")
    page.wait_for_selector(".chat-link", state="hidden")
    context.close()


def test_an_end_that_is_shown_before_stop_is_answered_loses_nothing_of_that_answer(
    page: Page, context: BrowserContext
) -> None:
    ask_echo(page)
    wait_for_text(page)
    held = []
    page.route("**/stop/", lambda route: held.append((route, route.fetch())))
    page.click(".stop-form button")
    page.wait_for_selector("text=Stopped.")
    # The end may come by the socket before the answer to Stop is here.
    while not held:
        page.evaluate("() => new Promise(requestAnimationFrame)")
    ((route, response),) = held
    # The answer brings the title, and would complain on the console without a place for it.
    assert 'id="title-' in response.text()
    route.fulfill(response=response)
    page.wait_for_selector(".stop-form", state="detached")


def test_a_page_whose_chat_is_deleted_elsewhere_says_so(
    page: Page, context: BrowserContext, server: Server, shot: Callable[..., None]
) -> None:
    ask(page)
    wait_for_text(page)
    other = context.new_page()
    other.goto(page.url)
    wait_for_text(other)
    headers = page.evaluate("JSON.parse(document.querySelector('#app').getAttribute('hx-headers'))")
    page.request.post(f"{page.url}delete/", headers=headers | {"Referer": page.url})
    for one in (page, other):
        one.wait_for_selector("#composer-error:has-text('This chat no longer exists.')")
    shot(other, "deleted-elsewhere")
    assert page.request.get(page.url).status == 404


def test_the_list_of_chats_folds_away_and_stays_so(page: Page, shot: Callable[..., None]) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.click(".drawer-close")
    page.wait_for_selector("#sidebar", state="hidden")
    assert page.evaluate("document.activeElement.matches('.drawer-open')")
    shot(page, "folded")
    page.reload()
    assert not page.locator("#sidebar").is_visible()
    # What is looked for stands in the list.
    page.keyboard.press("Control+k")
    page.wait_for_selector("#search:focus")
    page.keyboard.press("Control+Shift+S")
    page.wait_for_selector("#sidebar", state="hidden")
    # A narrow page has its drawer all the same.
    page.set_viewport_size({"width": 390, "height": 800})
    page.click(".drawer-open")
    page.wait_for_selector(".chat-link", state="visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#sidebar", state="hidden")
    page.set_viewport_size({"width": 1200, "height": 800})
    page.keyboard.press("Control+Shift+S")
    page.wait_for_selector("#sidebar", state="visible")
    page.reload()
    assert page.locator("#sidebar").is_visible()


def test_who_types_anywhere_writes_and_a_key_copies_the_answer(
    context: BrowserContext, page: Page
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.type("it")
    assert page.input_value("#composer-text") == "it"
    page.keyboard.press("Control+Shift+C")
    page.wait_for_selector(".message-assistant [href='#icon-check']", state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == ANSWER

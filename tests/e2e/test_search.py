"""Search in the sidebar: as one types, in Korean too, and the jump to what was found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import Server

from .test_continue import LOOKS, put_on
from .test_sidebar import row, start_chat
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

# Behind the newest chat's answer: a long way that nobody scrolls.
FILL = """
from conversations.models import Conversation, Message
chat = Conversation.objects.latest("created_at")
parent = chat.leaf
for number in range(300):
    text = f"Message number {number}, no more."
    if number == 20:
        text = "다음 주에 서울에서 만나요."
    role = "assistant" if number % 2 else "user"
    parent = Message.objects.create(conversation=chat, parent=parent, content=text, role=role)
chat.leaf = parent
chat.save()
"""
RESULT = ".sidebar .result-link"
FOUND = ".message[data-found]"
IN_SIGHT = """selector => {
  const box = document.querySelector(selector).getBoundingClientRect();
  const frame = document.querySelector('.scroller').getBoundingClientRect();
  // In the scroller, and nothing else has moved.
  return box.top >= frame.top - 1 && box.top < frame.bottom && frame.top > 0 && scrollY === 0;
}"""


def test_a_word_is_found_by_the_keyboard_and_jumped_to(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "A trip")
    server.manage("shell", "--command", FILL)
    page.goto("/")
    page.wait_for_selector(row("A trip"))
    # Where one writes it is a character.
    page.keyboard.type("/")
    assert page.input_value("#composer-text") == "/"
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("서울")
    page.wait_for_selector(f"{RESULT} mark:has-text('서울')")
    assert page.locator(RESULT).count() == 1
    assert "서울에서 만나요" in page.locator(RESULT).inner_text()
    shot(page, "search-results")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{FOUND}:has-text('서울에서')")
    page.wait_for_function(IN_SIGHT, arg=FOUND)
    shot(page, "search-jump")
    # The results stay for the next one; a reload comes back to the message.
    assert page.locator(RESULT).count() == 1
    page.reload()
    page.wait_for_selector(FOUND)
    page.wait_for_function(IN_SIGHT, arg=FOUND)
    page.focus(".scroller")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("nothing like it")
    page.wait_for_selector("text=No results for “nothing like it”.")
    page.keyboard.press("Escape")
    page.wait_for_selector(row("A trip"))
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "composer-text"


def test_a_find_in_another_version_brings_all_tabs_there(
    server: Server, context: BrowserContext, page: Page
) -> None:
    start_chat(page, "An apple a day")
    other = context.new_page()
    other.goto(page.url)
    answer = page.locator(".message").last.get_attribute("id")
    page.press("#composer-text", "ArrowUp")
    page.fill(".edit-form textarea", "A pear a day")
    page.press(".edit-form textarea", "Enter")
    page.wait_for_selector(f"#{answer}", state="detached")
    page.wait_for_selector(ENDED)
    page.fill("#search", "apple a")
    page.click(f"{RESULT} >> nth=-1")
    page.wait_for_selector(f"{FOUND}:has-text('apple')")
    for tab in (page, other):
        tab.wait_for_selector(f"#{answer}")
        assert tab.locator(".bubble").all_inner_texts() == ["An apple a day"]
    page.wait_for_selector(".switch-form", state="detached")
    # What is written now goes on from what was found.
    ask(page, "And on")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    for tab in (page, other):
        tab.wait_for_selector(".bubble:text-is('And on')")
        assert tab.locator(".bubble").all_inner_texts() == ["An apple a day", "And on"]


def test_text_of_a_running_answer_is_found(server: Server, page: Page) -> None:
    page.goto("/")
    ask(page, "Run", "slow")
    wait_for_text(page, 60)
    page.fill("#search", "committed")
    page.wait_for_selector(f"{RESULT} mark:has-text('committed')")
    assert page.locator(RUNNING).count() == 1
    # Esc in the field is not the one that stops the answer.
    page.press("#search", "Escape")
    page.wait_for_selector(row("Run"))
    assert page.locator(".stop-form").count() == 1


def test_a_slow_older_search_does_not_overwrite_a_newer_one(server: Server, page: Page) -> None:
    start_chat(page, "An apple and a pear")
    held = []
    page.route(re.compile(r"/search/\?q=apple$"), lambda route: held.append(route))
    page.fill("#search", "apple")
    page.wait_for_function("() => document.querySelector('.search-form.htmx-request')")
    page.fill("#search", "nowhere")
    page.wait_for_selector("text=No results for “nowhere”.")
    (route,) = held
    # It was given up: there is nobody to answer any more.
    assert route.request.failure
    assert page.locator(RESULT).count() == 0


def test_a_senseless_search_gets_a_sentence_in_place(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "A chat")
    page.fill("#search", "   ")
    page.wait_for_selector(".sidebar >> text=Enter something to search for.")
    page.fill("#search", "x" * 5_000)
    page.wait_for_selector(".sidebar >> text=The search is too long: 5,000 characters")
    shot(page, "search-refused")
    # Too long for the address as well; pasted, so that a limit of the field would cut it.
    page.fill("#search", "")
    page.keyboard.insert_text("가" * 5_000)
    page.wait_for_selector(".sidebar .search-said:not(:has-text('5,000'))")
    assert page.input_value("#search") == "가" * 5_000
    page.fill("#search", "")
    page.wait_for_selector(row("A chat"))


def test_without_javascript_search_is_a_page(
    server: Server, browser, shot: Callable[..., None]
) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    page.fill("#composer-text", "서울에서 부산까지")
    page.click("#composer button.send-button")
    page.fill("#search", "부산")
    page.press("#search", "Enter")
    page.wait_for_selector("main mark:has-text('부산')")
    shot(page, "search-plain")
    page.click("main .result-link >> nth=-1")
    page.wait_for_selector(".message-user:target:has-text('서울에서 부산까지')")
    page.click(".edit-open")
    page.fill(".edit-form textarea", "Nothing of the kind")
    page.click(".edit-send")
    page.fill("#search", "부산")
    page.press("#search", "Enter")
    page.click("main .result-link >> nth=-1")
    page.wait_for_selector(".bubble:text-is('서울에서 부산까지')")
    shot(page, "search-plain-other")
    page.click("text=Switch to this version")
    page.wait_for_selector(".switch-form", state="detached")
    page.reload()
    assert page.locator(".bubble").inner_text() == "서울에서 부산까지"
    # Pasted, it would make an address that the server refuses unread.
    page.focus("#search")
    page.keyboard.insert_text("가" * 5_000)
    page.press("#search", "Enter")
    page.wait_for_selector("main >> text=The search is too long: 1,000 characters")
    context.close()


def test_what_is_found_looks_right_in_both_themes_and_on_phones(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    start_chat(page, "Streams that keep every character, please")
    start_chat(page, "Something else")
    for look in LOOKS:
        put_on(page, look)
        page.wait_for_selector(ENDED)
        page.keyboard.press("Control+k")
        page.wait_for_selector("#search", state="visible")
        page.keyboard.type("every")
        page.wait_for_selector(f"{RESULT} mark", state="visible")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot(page, f"search-{look.theme}-{look.width}")
        page.click(f"{RESULT} >> nth=-1")
        page.wait_for_selector(FOUND)
        page.wait_for_function(IN_SIGHT, arg=FOUND)
        shot(page, f"search-jump-{look.theme}-{look.width}")

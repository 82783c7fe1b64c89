"""Variants, edits and forks, as a person sees them in one tab and in two."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import Server

from .conftest import ANSWER, count
from .test_continue import LOOKS, put_on
from .test_story import ENDED, RUNNING, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

QUICK = {"DEFAULT_MODEL": "openai:quick"}
quick = pytest.mark.parametrize("more_env", [QUICK])
VERSIONS = ".message-assistant:last-child .variants"
PREVIOUS = "[id^=previous-under]"
NEXT = "[id^=next-under]"


def wait_until_ended(page: Page) -> None:
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")


def retry(page: Page) -> None:
    """Ask for another answer; returns when it runs."""
    before = newest(page)
    page.locator("[aria-label=Retry]").last.click()
    wait_for_other(page, before)


def newest(page: Page) -> str:
    """The id of the newest message."""
    return page.locator(".message").last.get_attribute("id")


def wait_for_other(page: Page, before: str) -> str:
    """Wait until the page's newest message is another one; its id."""
    page.wait_for_selector(f".message:last-child:not(#{before})")
    return newest(page)


def top_of(page: Page, selector: str) -> float:
    return page.locator(selector).first.bounding_box()["y"]


@quick
def test_a_switch_between_two_answers_shows_in_both_tabs_and_keeps_focus(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page)
    wait_until_ended(page)
    first = newest(page)
    assert page.locator(".variants").count() == 0
    retry(page)
    wait_until_ended(page)
    second = newest(page)
    other = context.new_page()
    other.goto(page.url)
    assert other.locator(VERSIONS).inner_text().strip() == "2/2"
    page.focus(f"{VERSIONS} {PREVIOUS}")
    page.keyboard.press("Enter")
    for tab in (page, other):
        assert wait_for_other(tab, second) == first
        assert tab.locator(VERSIONS).inner_text().strip() == "1/2"
        assert tab.locator(".message").count() == 2
    assert page.evaluate("document.activeElement.id.startsWith('previous-under')")
    assert page.locator(f"{VERSIONS} {PREVIOUS}").get_attribute("aria-disabled") == "true"
    page.reload()
    assert newest(page) == first
    other.click(f"{VERSIONS} {NEXT}")
    for tab in (page, other):
        assert wait_for_other(tab, first) == second
    for look in LOOKS:
        put_on(other, look)
        other.locator(VERSIONS).scroll_into_view_if_needed()
        assert other.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot(other, f"variants-{look.theme}-{look.width}")


@quick
def test_the_switched_row_stays_under_the_pointer(page: Page) -> None:
    ask(page)
    wait_until_ended(page)
    retry(page)
    wait_until_ended(page)
    ask(page, "And more, please")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    wait_until_ended(page)
    row = page.locator(".variants").first
    page.evaluate(
        "() => { const row = document.querySelector('.variants').getBoundingClientRect();"
        " document.querySelector('.scroller').scrollTop += row.top - 300; }"
    )
    before = row.bounding_box()["y"]
    row.locator(PREVIOUS).click()
    page.wait_for_function("() => document.querySelectorAll('.message').length === 2")
    # The other answer is as long, but nothing follows it: the page ends there.
    row.locator(NEXT).click()
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    place = row.bounding_box()["y"]
    row.locator(PREVIOUS).click()
    page.wait_for_function("() => document.querySelectorAll('.message').length === 2")
    assert abs(row.bounding_box()["y"] - place) <= 2
    assert place >= before


def test_the_answer_that_is_left_runs_on_and_is_found_whole(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    ask(page)
    wait_until_ended(page)
    page.select_option("select[name=model]", "openai:slow")
    chosen = "select[name=model] option[value='openai:slow'][selected]"
    page.wait_for_selector(chosen, state="attached")
    first = newest(page)
    retry(page)
    second = newest(page)
    wait_for_text(page, 20)
    page.click(f"{VERSIONS} {PREVIOUS}")
    assert wait_for_other(page, second) == first
    assert page.locator(".stop-form").count() == 0
    page.fill("#composer-text", "Not yet")
    page.press("#composer-text", "Enter")
    page.wait_for_selector("#composer-error:has-text('in another version of this chat')")
    assert page.input_value("#composer-text") == "Not yet"
    shot(page, "variants-other-runs")
    page.click(f"{VERSIONS} {NEXT}")
    assert wait_for_other(page, first) == second
    page.wait_for_selector(RUNNING)
    page.wait_for_selector(".stop-form")
    wait_until_ended(page)
    page.wait_for_selector("text=The end of it. >> nth=2")
    assert count(server, "streaming_stream") == 2


# --- Edit

FORM = ".edit-form textarea"


def edit(page: Page) -> None:
    """Open the form of the last message by the keyboard."""
    page.focus("#composer-text")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(FORM)
    page.wait_for_function("() => document.activeElement.matches('.edit-form textarea')")


def bubbles(page: Page) -> list[str]:
    return page.locator(".bubble").all_inner_texts()


@quick
def test_a_message_is_edited_by_the_keyboard_and_both_versions_stay(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page, "First words")
    wait_until_ended(page)
    other = context.new_page()
    other.goto(page.url)
    first = newest(page)
    edit(page)
    assert page.input_value(FORM) == "First words"
    # Esc leaves everything as it was, and the focus at the button.
    page.keyboard.type(" and more")
    page.keyboard.press("Escape")
    page.wait_for_selector(FORM, state="detached")
    assert bubbles(page) == ["First words"]
    assert page.evaluate("document.activeElement.matches('.edit-open')")
    page.keyboard.press("Enter")
    page.wait_for_selector(FORM)
    assert page.input_value(FORM) == "First words"
    page.keyboard.type(", better")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    for look in LOOKS:
        page.emulate_media(color_scheme=look.theme)
        page.set_viewport_size({"width": look.width, "height": look.height})
        shot(page, f"edit-{look.theme}-{look.width}")
    page.keyboard.press("Enter")
    for tab in (page, other):
        wait_for_other(tab, first)
        wait_until_ended(tab)
        assert bubbles(tab) == ["First words, better\nsecond line"]
        assert tab.locator(".message-user .variants").inner_text().strip() == "2/2"
    assert page.evaluate("document.activeElement.id") == "composer-text"
    other.click(f".message-user .variants {PREVIOUS}")
    for tab in (page, other):
        tab.wait_for_selector(".bubble:text-is('First words')")
        assert newest(tab) == first
    assert count(server, "conversations_message") == 4


@quick
def test_two_tabs_edit_the_same_message_and_nothing_is_lost(
    context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page, "First words")
    wait_until_ended(page)
    other = context.new_page()
    other.goto(page.url)
    for tab, words in ((page, "From one tab"), (other, "From the other")):
        edit(tab)
        tab.fill(FORM, words)
    first = newest(page)
    page.press(FORM, "Enter")
    wait_for_other(page, first)
    other.wait_for_selector(".bubble:text-is('From one tab')")
    other.wait_for_selector("text=changed in another tab")
    assert other.input_value(FORM) == "From the other"
    shot(other, "edit-two-tabs")
    for tab in (page, other):
        wait_until_ended(tab)
    second = newest(page)
    other.press(FORM, "Enter")
    for tab in (page, other):
        wait_for_other(tab, second)
        wait_until_ended(tab)
        assert bubbles(tab) == ["From the other"]
        assert tab.locator(FORM).count() == 0
        assert tab.locator(".message-user .variants").inner_text().strip() == "3/3"
        assert tab.locator(".message").count() == 2


def test_what_is_typed_in_the_form_outlives_errors_and_a_reload(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    # Half a minute of an answer, however slow the machine is.
    ask(page, "First words " * 50)
    wait_for_text(page)
    edit(page)
    page.fill(FORM, "Other words")
    page.press(FORM, "Enter")
    page.wait_for_selector(".edit-form .field-error:has-text('still running')")
    shot(page, "edit-still-running")
    # Esc closes the form and stops nothing.
    page.press(FORM, "Escape")
    page.wait_for_selector(FORM, state="detached")
    assert page.locator(".stop-form").count() == 1
    edit(page)
    page.fill(FORM, "Other words")
    page.reload()
    edit(page)
    assert page.input_value(FORM) == "Other words"
    page.click(".stop-form button")
    page.wait_for_selector(".stop-form", state="detached")
    page.fill(FORM, "x" * 32_001)
    page.press(FORM, "Enter")
    page.wait_for_selector(".edit-form .field-error:has-text('too long')")
    assert len(page.input_value(FORM)) == 32_001
    page.fill(FORM, "Other words")
    # The server takes it, but its answer gets lost on the way back.
    page.route("**/edit/", lambda route: (route.fetch(), route.abort()))
    page.press(FORM, "Enter")
    page.wait_for_selector(".edit-form .field-error:has-text('text is')")
    page.unroute("**/edit/")
    page.wait_for_function("() => document.querySelector('.bubble')?.innerText === 'Other words'")
    assert page.input_value(FORM) == "Other words"
    wait_until_ended(page)
    page.press(FORM, "Enter")
    page.wait_for_selector(FORM, state="detached")
    assert bubbles(page) == ["Other words"]
    assert count(server, "conversations_message") == 4
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes(':edit-'))") == []


# --- Fork, rating, details, copy


@quick
def test_a_chat_is_forked_rated_and_copied(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, "First *words*")
    wait_until_ended(page)
    chat = page.url
    copied = "[data-copy] use[href='#icon-check']"
    page.locator(".message-user [aria-label=Copy]").click()
    page.wait_for_selector(f".message-user {copied}", state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == "First *words*"
    page.locator(".message-assistant [aria-label=Copy]").click()
    page.wait_for_selector(f".message-assistant {copied}", state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == ANSWER
    kinds = "async () => (await navigator.clipboard.read())[0].types"
    assert "text/html" in page.evaluate(kinds)

    other = context.new_page()
    other.goto(chat)
    page.focus("[aria-label='Bad answer']")
    page.keyboard.press("Enter")
    page.wait_for_selector(".word-form input[name=word]")
    for tab in (page, other):
        tab.wait_for_selector("[aria-label='Bad answer'][aria-pressed=true]")
    assert page.evaluate("document.activeElement.ariaLabel") == "Bad answer"
    shot(page, "rating-word")
    page.fill(".word-form input[name=word]", "Too short")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Thank you.")
    assert page.evaluate("document.activeElement.ariaLabel") == "Bad answer"
    page.keyboard.press("Enter")
    for tab in (page, other):
        tab.wait_for_selector("[aria-label='Bad answer'][aria-pressed=false]")

    for look in LOOKS:
        put_on(other, look)
        other.click("[aria-label=More]")
        other.wait_for_selector(".facts:has-text(' s') time")
        shot(other, f"more-{look.theme}-{look.width}")
        other.keyboard.press("Escape")
        other.wait_for_selector(".facts", state="hidden")

    page.click("[aria-label=More]")
    page.click(".more >> text=New chat from here")
    page.wait_for_selector("h1:has-text('Fork of First *words*')")
    assert page.url != chat
    assert page.locator(".message").count() == 2
    page.wait_for_selector(".chat-link[aria-current=page]:has-text('Fork of')")
    assert count(server, "streaming_stream") == 1
    ask(page, "And on from here")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    wait_until_ended(page)
    assert other.locator(".message").count() == 2
    shot(page, "forked")


def test_esc_in_the_word_of_a_rating_stops_no_answer(page: Page) -> None:
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    ask(page)
    wait_until_ended(page)
    page.select_option("select[name=model]", "openai:slow")
    page.wait_for_selector("option[value='openai:slow'][selected]", state="attached")
    ask(page, "And more, please")
    wait_for_text(page, 20)
    page.locator("[aria-label='Bad answer']").first.click()
    word = ".word-form input[name=word]"
    page.fill(word, "Too")
    page.press(word, "Escape")
    page.wait_for_selector(word, state="detached")
    assert page.evaluate("document.activeElement.ariaLabel") == "Bad answer"
    assert page.locator("[aria-label='Bad answer'][aria-pressed=true]").count() == 1
    assert page.locator(".stop-form").count() == 1
    assert page.locator(RUNNING).count() == 1
    # Elsewhere it stops.
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Stopped.")


LONG = """
from conversations.models import Conversation, Message
chat = Conversation.objects.get()
parent = chat.leaf
for number in range(110):
    role = "assistant" if number % 2 else "user"
    parent = Message.objects.create(conversation=chat, parent=parent, content="More", role=role)
chat.leaf = parent
chat.save()
"""


@quick
def test_a_rating_of_long_ago_reaches_the_pages_that_show_it(
    server: Server, context: BrowserContext, page: Page
) -> None:
    """A page that has no place for it would complain on its console: see `context`."""
    ask(page)
    wait_until_ended(page)
    oldest = page.get_attribute(".message", "id").removeprefix("message-")
    server.manage("shell", "--command", LONG)
    page.goto(f"{page.url}?at={oldest}")
    tabs = [context.new_page() for _ in range(2)]
    tabs[0].goto(page.url)
    tabs[1].goto(page.url.partition("?")[0])
    assert [tab.locator(".message").count() for tab in tabs] == [50, 50]
    version = page.get_attribute("#state", "data-version")
    page.locator("[aria-label='Good answer']").first.click()
    for tab in (page, *tabs):
        tab.wait_for_selector(f"#state:not([data-version='{version}'])", state="attached")
    tabs[0].wait_for_selector("[aria-label='Good answer'][aria-pressed=true]")
    assert tabs[1].locator("[aria-label='Good answer'][aria-pressed=true]").count() == 0


# --- Without JavaScript


@quick
def test_without_javascript_a_message_is_edited_rated_and_forked(server: Server, browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.fill("#composer-text", "Plain HTML")
    page.click("#composer button.send-button")
    reload_until_ended(page)
    page.click(".edit-open")
    assert page.input_value(FORM) == "Plain HTML"
    page.click(".edit-cancel")
    assert page.locator(FORM).count() == 0
    page.click(".edit-open")
    page.fill(FORM, "Plain HTML, edited")
    page.click(".edit-send")
    assert bubbles(page) == ["Plain HTML, edited"]
    reload_until_ended(page)
    page.click("[aria-label='Good answer']")
    page.fill(".word-form input[name=word]", "Clear")
    page.click(".word-form button")
    page.click("[aria-label=More]")
    assert page.locator(".facts:has-text('You wrote: Clear')").is_visible()
    page.click(".more >> text=New chat from here")
    assert page.locator(".chat-head h1").inner_text() == "Fork of Plain HTML"
    assert bubbles(page) == ["Plain HTML, edited"]
    context.close()


@quick
def test_without_javascript_the_versions_are_switched(server: Server, browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.fill("#composer-text", "Plain HTML")
    page.click("#composer button.send-button")
    reload_until_ended(page)
    page.locator("[aria-label=Retry]").last.click()
    reload_until_ended(page)
    second = newest(page)
    page.click(f"{VERSIONS} {PREVIOUS}")
    assert wait_for_other(page, second)
    assert page.url.endswith(f"#{newest(page)}")
    assert page.locator(VERSIONS).inner_text().strip() == "1/2"
    context.close()


def reload_until_ended(page: Page) -> None:
    """Reload a page without a script until its newest answer has ended."""
    for _ in range(200):
        if page.locator(ENDED).count():
            return
        page.reload()
    raise AssertionError("The answer did not end.")

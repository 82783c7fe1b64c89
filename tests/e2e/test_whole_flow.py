"""All that a person does, from the first visit to sign-out: by keyboard, on a phone, as forms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.services import Server

from .conftest import count
from .test_everywhere import small_targets, sticking_out
from .test_queue import wait_for_bubbles, wait_for_queue
from .test_story import ENDED, RUNNING, shown, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

PASSWORD = "correct horse battery staple"
STATE = ".message-assistant:last-child .state"
STOPPED = f"{STATE}:has-text('Stopped.')"
# Of all pages of the tab: what a hand on a mouse, a pad or a screen would have done.
WATCH_HANDS = """
const kinds = ["pointerdown", "pointermove", "mousedown", "mousemove", "touchstart", "wheel"];
for (const hand of kinds) {
  addEventListener(hand, () => { sessionStorage.hand = hand }, true);
}
"""
# Where the focus is seen: at a ring, or, where one writes, at the box and the caret in it. The
# element is on the screen, is not faint, and nothing lies on it.
FOCUS_IS_SEEN = """
selector => {
  const one = document.activeElement;
  if (!one.matches(selector)) return false;
  const box = one.getBoundingClientRect();
  const over = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  if (!over || !(one.contains(over) || over.contains(one))) return false;
  for (let part = one; part; part = part.parentElement) {
    if (getComputedStyle(part).opacity < 1) return false;
  }
  const around = one.matches("textarea") && one.closest(".composer, .edit-form");
  if (around) return parseFloat(getComputedStyle(around).borderTopWidth) >= 1;
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  return one.matches(":focus-visible") && outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
}
"""


def sees_focus(page: Page, selector: str) -> None:
    """Wait until the focus is on `selector` and a person sees it there."""
    page.wait_for_function(FOCUS_IS_SEEN, arg=selector)


def tab_to(page: Page, selector: str, key: str = "Tab") -> None:
    """Press Tab until `selector` has the focus, which is seen there."""
    for _ in range(60):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            sees_focus(page, selector)
            return
        page.keyboard.press(key)
    pytest.fail(f"{selector} is not reached by {key}.")


def version(page: Page) -> str:
    """Which version of the turn that has several is shown."""
    return page.locator(".variants").inner_text().strip()


def wait_for_version(page: Page, told: str) -> None:
    page.wait_for_selector(f".variants:has-text('{told}')")


def wait_for_end(page: Page) -> None:
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")


def test_everything_is_done_by_keyboard(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    page.add_init_script(WATCH_HANDS)
    press, write = page.keyboard.press, page.keyboard.type
    # Open, and send a first message as a guest.
    page.goto("/")
    sees_focus(page, "#composer-text")
    write("Tell me about streams")
    press("Enter")
    wait_for_text(page, 20)
    sees_focus(page, "#composer-text")
    # Stop, and let the answer go on.
    press("Escape")
    page.wait_for_selector(STOPPED)
    stopped = shown(page).strip()
    tab_to(page, ".continue-form button", "Shift+Tab")
    shot(page, "keys-continue")
    press("Enter")
    page.wait_for_selector(RUNNING)
    assert wait_for_text(page, len(stopped) + 20).strip().startswith(stopped[:20])
    press("Escape")
    page.wait_for_selector(STOPPED)
    assert count(server, "streaming_stream") == 1
    # Retry; write on meanwhile, and mend that before it is sent.
    tab_to(page, ".actions-shown button:has(use[href='#icon-retry'])", "Shift+Tab")
    press("Enter")
    page.wait_for_selector(RUNNING)
    sees_focus(page, "#composer-text")
    write("And rivers")
    press("Enter")
    wait_for_queue(page, "And rivers")
    press("ArrowUp")
    sees_focus(page, ".queued textarea")
    write("?")
    press("Enter")
    wait_for_queue(page, "And rivers?")
    sees_focus(page, "#composer-text")
    # It is sent by itself.
    wait_for_bubbles(page, 2)
    wait_for_queue(page)
    page.wait_for_selector(RUNNING)
    wait_for_text(page, 20)
    press("Escape")
    page.wait_for_selector(STOPPED)
    assert count(server, "streaming_stream") == 3
    # Look at the first answer, and come back.
    assert version(page) == "2/2"
    tab_to(page, "[id^='previous-under']", "Shift+Tab")
    press("Enter")
    wait_for_version(page, "1/2")
    sees_focus(page, "[id^='previous-under']")
    wait_for_bubbles(page, 1)
    assert shown(page).strip().startswith(stopped[:20])
    shot(page, "keys-variant")
    tab_to(page, "[id^='next-under']")
    press("Enter")
    wait_for_version(page, "2/2")
    wait_for_bubbles(page, 2)
    # Edit the message and send it again; it is seen to its end.
    tab_to(page, "#composer-text")
    press("ArrowUp")
    sees_focus(page, ".messages .edit-form textarea")
    write(" And lakes?")
    press("Enter")
    page.wait_for_selector(".bubble:has-text('And rivers? And lakes?')")
    page.wait_for_selector(RUNNING)
    sees_focus(page, "#composer-text")
    wait_for_end(page)
    assert page.locator(".message-assistant:last-child table").count() == 3
    # Rename.
    tab_to(page, ".row-more", "Shift+Tab")
    press("Enter")
    sees_focus(page, "#chat-menu .menu-item")
    press("Enter")
    sees_focus(page, ".rename-form input")
    write("Running water")
    press("Enter")
    page.wait_for_selector(".chat-head h1:has-text('Running water')")
    page.wait_for_selector(".chat-link:has-text('Running water')")
    # Search, and go to what was found.
    press("Control+k")
    sees_focus(page, "#search")
    write("lakes")
    page.wait_for_selector(".result-link mark")
    tab_to(page, ".result-link")
    press("Enter")
    page.wait_for_selector(".message-user[data-found] .bubble:has-text('And lakes?')")
    press("Control+k")
    press("Escape")
    page.wait_for_selector(".chat-link")
    # Which keys there are.
    tab_to(page, ".chat-link")
    press("?")
    page.wait_for_selector("#shortcuts[open]")
    sees_focus(page, "#shortcuts button")
    shot(page, "keys-shortcuts")
    press("Escape")
    page.wait_for_selector("#shortcuts", state="hidden")
    sees_focus(page, ".chat-link")
    # Settings: another theme.
    tab_to(page, ".sidebar-foot [href='/settings/']")
    press("Enter")
    page.wait_for_selector("#id_theme")
    assert page.locator("html[data-theme]").count() == 0
    tab_to(page, "#id_theme")
    write("Dark")
    page.wait_for_selector("html[data-theme=dark]")
    sees_focus(page, "#id_theme")
    shot(page, "keys-dark")
    # Sign up, and sign out.
    tab_to(page, "main [href='/accounts/sign-up/']")
    press("Enter")
    page.wait_for_selector("input[name=email]")
    tab_to(page, "input[name=email]")
    write("keys@example.com")
    tab_to(page, "input[name=password1]")
    write(PASSWORD)
    tab_to(page, "input[name=password2]")
    write(PASSWORD)
    press("Enter")
    page.wait_for_selector(".sidebar-user:has-text('keys@example.com')")
    page.wait_for_selector(".chat-link:has-text('Running water')")
    tab_to(page, ".sidebar-foot [href='/accounts/sign-out/']")
    press("Enter")
    page.wait_for_selector("main form .button-primary")
    tab_to(page, "main form .button-primary")
    press("Enter")
    page.wait_for_selector("text=Sign in anonymously")
    assert page.evaluate("sessionStorage.hand ?? ''") == ""


@pytest.fixture
def phone(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": 320, "height": 640},
        has_touch=True,
        is_mobile=True,
    )
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def test_everything_is_done_on_the_narrowest_phone(
    server: Server, phone: Page, shot: Callable[..., None]
) -> None:
    page, tap = phone, phone.tap

    def fits(name: str) -> None:
        """Nothing sticks out, and a finger hits everything."""
        shot(page, f"phone-{name}")
        assert sticking_out(page) == []
        assert small_targets(page) == []

    def write(selector: str, text: str) -> None:
        tap(selector)
        page.wait_for_selector(f"{selector}:focus")
        page.keyboard.type(text)

    def chats() -> None:
        tap(".drawer-open")
        page.wait_for_selector(".drawer-close", state="visible")
        page.wait_for_function("() => !document.querySelector('#sidebar').getAnimations().length")

    page.goto("/")
    fits("first-visit")
    write("#composer-text", "Tell me about streams")
    tap("#composer .send-button")
    wait_for_text(page, 20)
    fits("running")
    # Stop, and let the answer go on.
    tap(".stop-form button")
    page.wait_for_selector(STOPPED)
    stopped = shown(page).strip()
    fits("stopped")
    tap("text=Continue")
    page.wait_for_selector(RUNNING)
    assert wait_for_text(page, len(stopped) + 20).strip().startswith(stopped[:20])
    tap(".stop-form button")
    page.wait_for_selector(STOPPED)
    assert count(server, "streaming_stream") == 1
    # Retry; write on meanwhile, and mend that before it is sent.
    tap("text=Retry")
    page.wait_for_selector(RUNNING)
    write("#composer-text", "And rivers")
    tap("#composer .send-button")
    wait_for_queue(page, "And rivers")
    fits("queued")
    tap(".queued-open")
    page.wait_for_selector(".queued textarea")
    fits("queued-edit")
    write(".queued textarea", "?")
    tap(".queued .edit-send")
    wait_for_queue(page, "And rivers?")
    # It is sent by itself.
    wait_for_bubbles(page, 2)
    wait_for_queue(page)
    page.wait_for_selector(RUNNING)
    wait_for_text(page, 20)
    tap(".stop-form button")
    page.wait_for_selector(STOPPED)
    # Look at the first answer, and come back.
    tap("[id^='previous-under']")
    wait_for_version(page, "1/2")
    wait_for_bubbles(page, 1)
    fits("variant")
    tap("[id^='next-under']")
    wait_for_version(page, "2/2")
    wait_for_bubbles(page, 2)
    # Edit the message and send it again.
    page.locator(".edit-open").last.tap()
    page.wait_for_selector(".messages .edit-form")
    fits("edit")
    write(".messages .edit-form textarea", " And lakes?")
    tap(".edit-send")
    page.wait_for_selector(".bubble:has-text('And rivers? And lakes?')")
    page.wait_for_selector(RUNNING)
    wait_for_end(page)
    assert page.locator(".message-assistant:last-child table").count() == 3
    fits("ended")
    # Rename.
    chats()
    fits("drawer")
    tap(".row-more")
    page.wait_for_selector("#chat-menu:popover-open")
    fits("menu")
    tap("#chat-menu .menu-item >> nth=0")
    page.wait_for_selector(".rename-form input:focus")
    fits("rename")
    page.keyboard.type("Running water")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chat-link:has-text('Running water')")
    # Search, and go to what was found.
    write("#search", "lakes")
    page.wait_for_selector(".result-link mark")
    fits("search")
    tap(".result-link")
    page.wait_for_selector(".message-user[data-found] .bubble:has-text('And lakes?')")
    page.wait_for_selector(".sidebar", state="hidden")
    fits("found")
    # Settings: another theme.
    chats()
    tap(".sidebar-foot [href='/settings/']")
    page.wait_for_selector("#id_theme")
    fits("settings")
    tap("label[for=id_theme]")
    page.select_option("#id_theme", label="Dark")
    page.wait_for_selector("html[data-theme=dark] #id_theme:focus")
    fits("dark")
    # Sign up, and sign out.
    chats()
    tap("text=Sign up to keep your chats")
    page.wait_for_selector("input[name=email]")
    fits("sign-up")
    write("input[name=email]", "phone@example.com")
    write("input[name=password1]", PASSWORD)
    write("input[name=password2]", PASSWORD)
    tap("main form .button-primary")
    page.wait_for_selector(".start")
    fits("start")
    chats()
    page.wait_for_selector(".chat-link:has-text('Running water')")
    fits("account")
    tap("[href='/accounts/sign-out/']")
    page.wait_for_selector("main form .button-primary")
    fits("sign-out")
    tap("main form .button-primary")
    page.wait_for_selector("text=Sign in anonymously")


@pytest.fixture
def plain(browser: Browser, server: Server) -> Iterator[Page]:
    """A browser that runs no script."""
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def test_without_a_script_a_person_signs_in_sends_reads_stops_and_sees_the_answer(
    plain: Page, shot: Callable[..., None]
) -> None:
    page = plain
    text = ".message-assistant:last-child .stream-body"

    def go(selector: str) -> None:
        """Press what leads to another page, and wait for that."""
        with page.expect_navigation():
            page.click(selector)

    def refresh_until(is_so: Callable[[], object]) -> None:
        """Do what the page offers, until it shows what is waited for."""
        late = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < late
            go(".state a:has-text('Refresh to see more')")

    page.goto("/accounts/sign-in/")
    shot(page, "plain-sign-in")
    go("text=Sign in anonymously")
    # Send, read what is there, and stop.
    page.fill("#composer-text", "Tell me about streams")
    go("#composer .send-button")
    refresh_until(lambda: len(page.inner_text(text)) > 40)
    shot(page, "plain-running")
    go(".stop-form button")
    assert page.inner_text(STATE) == "Stopped."
    stopped = page.inner_text(text)
    assert len(stopped) > 40
    # What says that it was read needs a script.
    assert not page.is_visible(".unread-mark")
    shot(page, "plain-stopped")
    # Go on, then once more from the start, to the end.
    go("text=Continue")
    assert page.inner_text(text).startswith(stopped[:20])
    go(".stop-form button")
    go("text=Retry")
    refresh_until(lambda: not page.locator(".stop-form").count())
    assert page.locator(f"{text} table").count() == 3
    assert len(page.inner_text(text)) > len(stopped)
    # Look at the first answer, and come back.
    go("[id^='previous-under']")
    assert version(page) == "1/2"
    assert page.inner_text(text).startswith(stopped[:20])
    go("[id^='next-under']")
    assert version(page) == "2/2"
    # Edit, rename, search.
    go(".edit-open")
    page.fill(".edit-form textarea", "Tell me about rivers")
    shot(page, "plain-edit")
    go(".edit-send")
    assert page.inner_text(".bubble") == "Tell me about rivers"
    go(".stop-form button")
    go(".row-more")
    shot(page, "plain-options")
    page.fill(".rename-form [name=title]", "Running water")
    go(".rename-form button")
    page.goto("/")
    assert page.inner_text(".chat-link").startswith("Running water")
    page.fill("#search", "rivers")
    with page.expect_navigation():
        page.press("#search", "Enter")
    shot(page, "plain-search")
    go(".result-link >> nth=0")
    assert page.inner_text(".bubble") == "Tell me about rivers"
    # Settings: another theme.
    go(".sidebar-foot [href='/settings/']")
    page.select_option("#id_theme", label="Dark")
    go("#appearance .save-button")
    assert page.locator("html[data-theme=dark]").count() == 1
    shot(page, "plain-settings")
    # Sign up, sign out, and sign in again: the chat is still there.
    go(".sidebar-foot :text('Sign up to keep your chats')")
    page.fill("input[name=email]", "plain@example.com")
    page.fill("input[name=password1]", PASSWORD)
    page.fill("input[name=password2]", PASSWORD)
    go("main form .button-primary")
    go(".sidebar-foot [href='/accounts/sign-out/']")
    go("main form .button-primary")
    page.goto("/accounts/sign-in/")
    page.fill("input[name=username]", "plain@example.com")
    page.fill("input[name=password]", PASSWORD)
    go("main form .button-primary")
    assert page.inner_text(".chat-link").startswith("Running water")

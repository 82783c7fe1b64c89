"""Continue, and what a page shows of an answer that another writer took over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.services import Server

from .conftest import ANSWER, count, stored_text
from .test_story import ANSWER_TEXT, ENDED, RUNNING, ask, same_as_fresh, shown, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

WHOLE = ANSWER * 3
NOTE = "text=Resumed after an interruption."
# An interruption is noticed sooner, so that there is still something to see of the rest.
SOON = {"STREAMING_ABANDONED_SECONDS": "2", "STREAMING_SWEEP_SECONDS": "1"}
# Look at the answer in every frame that the browser draws: the least text that it showed.
WATCH = """selector => {
  window.least = Infinity;
  const look = () => {
    const length = document.querySelector(selector)?.innerText.trim().length ?? 0;
    window.least = Math.min(window.least, length);
    requestAnimationFrame(look);
  };
  look();
}"""
# Marks of Markdown disappear when what they mark is complete.
MARKS = 20


class Look(NamedTuple):
    """How a page is looked at."""

    theme: str
    width: int
    height: int


LOOKS = [Look(theme, *size) for theme in ("light", "dark") for size in ((1200, 800), (390, 844))]

both_kinds = pytest.mark.parametrize(
    "more_env",
    [{"OPENAI_CARRIES_ON": "True"}, {"OPENAI_CARRIES_ON": "False"}],
    ids=["prefix", "asked"],
)


def stop_in_the_middle(page: Page) -> str:
    """Ask, stop after some text; the text."""
    ask(page)
    wait_for_text(page, 60)
    page.click(".stop-form button")
    page.wait_for_selector(ENDED)
    page.wait_for_selector("text=Stopped.")
    return shown(page)


def put_on(page: Page, look: Look) -> None:
    """Draw the page anew: a mere change of its look would be shown as a transition."""
    page.emulate_media(color_scheme=look.theme)
    page.set_viewport_size({"width": look.width, "height": look.height})
    page.reload()


@both_kinds
def test_a_stopped_answer_is_continued_in_place_in_every_tab(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    before = stop_in_the_middle(page)
    assert stored_text(server) != WHOLE
    other = context.new_page()
    other.goto(page.url)
    other.wait_for_selector("text=Continue")
    shot(page, "continue-stopped")
    for tab in (page, other):
        tab.evaluate(WATCH, ANSWER_TEXT)
    page.click("text=Continue")
    for tab in (page, other):
        tab.wait_for_selector(RUNNING)
        assert shown(tab).strip().startswith(before.strip()[:40])
    wait_for_text(page, len(before) + 20)
    shot(page, "continue-running")
    late = context.new_page()
    late.goto(page.url)
    # What a page shows that is loaded in the middle.
    assert len(shown(late).strip()) >= len(before.strip())
    for tab in (page, other, late):
        tab.wait_for_selector(ENDED)
        same_as_fresh(tab, WHOLE)
        assert tab.locator(".message").count() == 2
        assert tab.locator("text=Continue").count() == 0
        tab.wait_for_selector(".stop-form", state="detached")
        if tab is not late:
            assert tab.evaluate("window.least") > len(before.strip()) - MARKS
    assert stored_text(server) == WHOLE
    assert count(server, "streaming_stream") == 1
    assert count(server, "conversations_message") == 2


def test_a_tab_that_was_away_shows_the_continued_answer_when_it_is_back(
    server: Server, context: BrowserContext, page: Page
) -> None:
    sockets = []
    is_away = False

    def connect(socket) -> None:
        if is_away:
            socket.close()
        else:
            socket.connect_to_server()
            sockets.append(socket)

    ask(page)
    wait_for_text(page, 40)
    other = context.new_page()
    other.route_web_socket("**/ws/streaming/", connect)
    other.goto(page.url)
    seen = wait_for_text(other, 60)
    # It misses the end and all that follows: it still shows the first stream as running.
    is_away = True
    for socket in sockets:
        socket.close()
    page.click(".stop-form button")
    page.wait_for_selector("text=Stopped.")
    page.click("text=Continue")
    page.wait_for_selector(RUNNING)
    wait_for_text(page, len(seen) + 20)
    assert other.locator(RUNNING).count() == 1
    other.evaluate(WATCH, ANSWER_TEXT)
    is_away = False
    for tab in (page, other):
        tab.wait_for_selector(ENDED)
        same_as_fresh(tab, WHOLE)
        assert tab.locator(".message").count() == 2
    assert other.evaluate("window.least") > len(seen.strip()) - MARKS
    assert stored_text(server) == WHOLE


@both_kinds
def test_an_answer_cut_by_its_length_is_continued_by_the_keyboard_until_it_is_whole(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    ask(page, model="short")
    page.wait_for_selector("text=The answer reached its length limit.")
    shot(page, "continue-length")
    clicks = 0
    while page.locator("text=Continue").count():
        length = len(stored_text(server))
        button = page.locator(".continue-form button")
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "([selector, length]) =>"
            " Number(document.querySelector(selector)?.dataset.end ?? 0) > length",
            arg=[".message-assistant:last-child .stream", length],
        )
        page.wait_for_selector(ENDED)
        clicks += 1
        assert clicks < 10
    assert clicks > 1
    assert stored_text(server) == ANSWER
    same_as_fresh(page, ANSWER)


@pytest.mark.parametrize(
    "more_env", [SOON | {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_MODELS": "slow"}]
)
def test_an_interrupted_answer_keeps_its_text_and_is_continued(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", "anthropic:slow")
    ask(page)
    wait_for_text(page, 60)
    server.kill9()
    stored = stored_text(server)
    server.start()
    page.wait_for_selector("text=Interrupted: the server restarted.")
    same_as_fresh(page, stored)
    assert page.locator(NOTE).count() == 0
    assert page.locator("text=Retry").is_visible()
    shot(page, "continue-interrupted")
    page.click("text=Continue")
    page.wait_for_selector(RUNNING)
    page.wait_for_selector(ENDED)
    assert stored_text(server) == WHOLE
    same_as_fresh(page, WHOLE)


@pytest.mark.parametrize("more_env", [SOON | {"OPENAI_CARRIES_ON": "True"}])
def test_a_page_says_that_its_answer_was_resumed_after_a_crash(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page)
    seen = wait_for_text(page, 60)
    page.evaluate(WATCH, ANSWER_TEXT)
    server.kill9()
    server.start()
    page.wait_for_selector(NOTE)
    shot(page, "resumed")
    # A page that is loaded now says so as well.
    other = context.new_page()
    other.goto(page.url)
    assert other.locator(NOTE).is_visible()
    for tab in (page, other):
        tab.wait_for_selector(ENDED)
        same_as_fresh(tab, WHOLE)
        assert tab.locator(NOTE).is_visible()
    for look in LOOKS:
        put_on(other, look)
        other.locator(NOTE).scroll_into_view_if_needed()
        shot(other, f"resumed-{look.theme}-{look.width}")
    assert page.evaluate("window.least") > len(seen.strip()) - MARKS
    assert stored_text(server) == WHOLE


def test_only_the_newest_answer_offers_to_continue(server: Server, page: Page) -> None:
    stop_in_the_middle(page)
    ask(page, "Something else")
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    assert not page.locator(".continue-form").first.is_visible()
    page.reload()
    assert not page.locator(".continue-form").first.is_visible()


def test_without_javascript_an_answer_is_continued(server: Server, browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", "openai:short")
    page.fill("#composer-text", "Plain HTML")
    page.click("#composer button.send-button")
    clicks = 0
    for _ in range(200):
        if page.locator(".continue-form button").count():
            page.click(".continue-form button")
            clicks += 1
        if page.locator("text=The end of it.").count():
            break
        page.reload()
    assert clicks > 1
    assert stored_text(server).startswith(ANSWER[:-1])
    context.close()


def test_a_stopped_answer_looks_right_in_both_themes_and_on_phones(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    stop_in_the_middle(page)
    for look in LOOKS:
        put_on(page, look)
        # The line, both buttons and nothing that scrolls sideways.
        for name in ("Retry", "Continue"):
            assert page.locator(f"text={name}").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot(page, f"continue-{look.theme}-{look.width}")

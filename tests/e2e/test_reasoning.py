"""What a model thinks, as a person sees it: folded, with the time that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from conversations.reasoning import joined
from tests.services import Server

from .conftest import ANSWER, THOUGHT, stored_text
from .test_story import ENDED, RUNNING, ask

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

SUMMARY = ".reasoning summary"
# One of the two words is shown; the other is there, hidden.
NOW, PAST = ".reasoning-now >> visible=true", ".reasoning-past >> visible=true"
SECONDS = "() => Number(document.querySelector('.reasoning-time').textContent.replace('0:', ''))"


def think(page: Page) -> None:
    ask(page, model="thinking")
    page.wait_for_selector(NOW)
    assert page.locator(PAST).count() == 0


def test_that_it_thinks_is_told_once_before_anything_of_it_can_be_shown(page: Page) -> None:
    think(page)
    # As the page is drawn while only the mark that begins a thought is stored.
    page.evaluate("document.querySelector('.stream-body').replaceChildren()")
    assert page.locator(".thinking").count() == 1
    assert page.locator(".thinking >> visible=true").count() == 0


def html_of(page: Page) -> str:
    """Of the blocks of the answer, all closed."""
    blocks: list[str] = page.eval_on_selector_all(
        ".message-assistant .stream-body > :not(.stream-open)",
        "all => all.map(one => one.outerHTML)",
    )
    return "".join(blocks)


def test_a_model_thinks_folded_and_its_time_is_counted(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    think(page)
    assert page.locator(".thought >> visible=true").count() == 0
    assert page.locator(".thinking >> visible=true").count() == 0, "told once"
    page.wait_for_function(f"{SECONDS} >= 2")
    shot(page, "thinking")
    # Another tab, which comes now, counts the same time.
    other = context.new_page()
    other.goto(page.url)
    other.wait_for_function(f"{SECONDS} >= 2")
    # Unfolded by hand it stays so while text comes.
    page.click(SUMMARY)
    page.wait_for_selector(".thought >> visible=true")
    page.wait_for_selector(PAST)
    assert page.locator(NOW).count() == 0
    page.wait_for_selector(".message-assistant h1")
    # So does a tab that comes when only the answer is still written.
    late = context.new_page()
    late.goto(page.url)
    late.wait_for_selector(RUNNING)
    late.wait_for_selector(PAST)
    assert late.evaluate(SECONDS) >= 2
    late.close()
    assert page.locator(".thought >> visible=true").count() > 0
    assert other.locator(".thought >> visible=true").count() == 0
    page.wait_for_selector(ENDED)
    shot(page, "reasoned")
    text = stored_text(server)
    assert text.endswith(ANSWER)
    assert text == joined(THOUGHT + "hm " * 4, ANSWER)
    time = page.inner_text(".reasoning-time")
    live = html_of(page)
    for tab in (page, other):
        tab.reload()
        assert tab.inner_text(".reasoning-time") == time
        assert html_of(tab) == live
        assert tab.locator(".thought >> visible=true").count() == 0


def test_a_reload_in_the_middle_of_a_thought_goes_on(server: Server, page: Page) -> None:
    think(page)
    page.wait_for_function(f"{SECONDS} >= 2")
    page.reload()
    page.wait_for_selector(RUNNING)
    assert page.evaluate(SECONDS) >= 1
    page.wait_for_selector(ENDED)
    assert stored_text(server) == joined(THOUGHT + "hm " * 4, ANSWER)


def test_a_thought_is_unfolded_by_keyboard(page: Page) -> None:
    think(page)
    page.focus(SUMMARY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".thought >> visible=true")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Stopped.")
    page.wait_for_selector(PAST)
    assert page.locator(NOW).count() == 0

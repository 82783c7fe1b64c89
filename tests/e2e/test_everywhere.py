"""The page keeps to what a person's system asks for, and tells its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from scripts.states import STATES, THEMES, SeededSite, State, shown

from .test_accessibility import serious, site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["site"]

pytestmark = pytest.mark.e2e

BY_NAME = {state.name: state for state in STATES}
CHAT, RUNNING = BY_NAME["chat"], BY_NAME["running"]


@pytest.mark.parametrize("name", ["running", "drawer", "deleted"])
def test_nothing_moves_where_less_motion_is_asked_for(
    browser: Browser, site: SeededSite, name: str
) -> None:
    size = {"width": 390, "height": 844}
    with shown(browser, site, BY_NAME[name], viewport=size) as page:
        assert page.evaluate("document.getAnimations().length") == 0
        page.emulate_media(reduced_motion="no-preference")
        if name == "running":
            # What would be seen: the mark of a running chat, the caret.
            assert page.evaluate("document.getAnimations().length") > 0


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["chat", "running", "first-visit", "settings"])
def test_all_texts_have_more_contrast_where_it_is_asked_for(
    browser: Browser, site: SeededSite, name: str, theme: str, shot: Callable[..., None]
) -> None:
    with shown(browser, site, BY_NAME[name], theme=theme, contrast="more", bypass_csp=True) as page:
        assert serious(page) == []
        shot(page, f"contrast-{name}-{theme}")
        colours = page.evaluate(
            "['--muted', '--line'].map(name =>"
            " getComputedStyle(document.documentElement).getPropertyValue(name))"
        )
        page.emulate_media(contrast="no-preference")
        assert colours != page.evaluate(
            "['--muted', '--line'].map(name =>"
            " getComputedStyle(document.documentElement).getPropertyValue(name))"
        )


@pytest.mark.parametrize("theme", THEMES)
def test_forced_colours_keep_the_focus_and_the_marks(
    browser: Browser, site: SeededSite, theme: str, shot: Callable[..., None]
) -> None:
    with shown(browser, site, RUNNING, theme=theme, forced_colors="active") as page:
        shot(page, f"forced-{theme}")
        page.focus("#composer-text")
        assert style(page, ".composer", "outlineStyle") == "solid"
        assert style(page, ".bubble", "borderTopStyle") == "solid"
        assert style(page, ".running-mark", "backgroundColor") != style(
            page, "body", "backgroundColor"
        )


def style(page: Page, selector: str, name: str) -> str:
    return page.eval_on_selector(selector, f"element => getComputedStyle(element).{name}")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_no_page_scrolls_sideways_from_320_pixels_to_4k(
    browser: Browser, site: SeededSite, state: State
) -> None:
    with shown(browser, site, state, viewport={"width": 320, "height": 700}) as page:
        for width in (320, 390, 768, 1200, 3840):
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            sticking_out = page.evaluate(
                "[...document.querySelectorAll('.sidebar')]"
                ".filter(part => part.scrollWidth > part.clientWidth).length"
            )
            assert sticking_out == 0


def test_a_question_mark_shows_the_keys_and_escape_hides_them(
    browser: Browser, site: SeededSite, shot: Callable[..., None]
) -> None:
    with shown(browser, site, RUNNING) as page:
        page.focus("#composer-text")
        page.keyboard.type("?")
        assert page.input_value("#composer-text") == "?"
        assert not page.locator("#shortcuts").is_visible()
        page.focus(".new-chat")
        page.keyboard.press("?")
        page.wait_for_selector("#shortcuts[open]")
        shot(page, "shortcuts")
        # The keys of the page under it rest: the answer goes on, no search begins.
        page.keyboard.press("Control+k")
        page.keyboard.press("Escape")
        page.wait_for_selector("#shortcuts", state="hidden")
        assert page.evaluate("document.activeElement.className") == "new-chat"
        assert page.locator(".stop-form").count() == 1
        page.focus("#composer-text")
        page.keyboard.press("Control+/")
        page.keyboard.press("Enter")
        page.wait_for_selector("#shortcuts", state="hidden")
        assert page.evaluate("document.activeElement.id") == "composer-text"
        page.click(".shortcuts-open")
        page.wait_for_selector("#shortcuts[open]")

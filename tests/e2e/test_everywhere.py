"""The page keeps to what a person's system asks for, and tells its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from scripts.states import STATES, THEMES, SeededSite, State, shown

from .test_accessibility import serious, site
from .test_languages import NARROW, WIDE, outside
from .test_reading import FRAMES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["site"]

pytestmark = pytest.mark.e2e

BY_NAME = {state.name: state for state in STATES}
CHAT, RUNNING = BY_NAME["chat"], BY_NAME["running"]


WATCH_MOTION = """
window.moved = [];
for (const begun of ["animationstart", "transitionrun"]) {
  addEventListener(begun, ({ target }) => moved.push(`${begun} ${target.className}`), true);
}
"""


@pytest.mark.parametrize("name", ["running", "drawer"])
def test_nothing_moves_where_less_motion_is_asked_for(
    browser: Browser, site: SeededSite, name: str
) -> None:
    state = BY_NAME[name]
    size = {"width": 390, "height": 844}
    with shown(browser, site, state, viewport=size) as page:
        page.add_init_script(WATCH_MOTION)
        for motion in ("reduce", "no-preference"):
            page.emulate_media(reduced_motion=motion)
            page.reload()
            page.wait_for_selector(f"{state.shows} >> nth=0")
            if state.act:
                state.act(page)
            if motion == "reduce":
                # Whatever had begun would be told by the second of these frames.
                page.evaluate(FRAMES)
                assert page.evaluate("moved") == []
                assert page.evaluate("document.getAnimations().length") == 0
            else:
                # What would be seen: the mark of a running chat, the caret, the drawer.
                page.wait_for_function("() => moved.length > 0")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["chat", "running", "first-visit", "settings"])
def test_all_texts_have_more_contrast_where_it_is_asked_for(
    browser: Browser, site: SeededSite, name: str, theme: str, shot: Callable[..., None]
) -> None:
    with shown(browser, site, BY_NAME[name], theme=theme, contrast="more", bypass_csp=True) as page:
        assert serious(page, "color-contrast-enhanced") == []
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
def test_forced_colours_keep_the_marks(
    browser: Browser, site: SeededSite, theme: str, shot: Callable[..., None]
) -> None:
    with shown(browser, site, RUNNING, theme=theme, forced_colors="active") as page:
        shot(page, f"forced-{theme}")
        page.focus("#composer-text")
        assert style(page, ".composer", "outlineStyle") == "solid"
        assert style(page, ".bubble", "borderTopStyle") == "solid"
        assert style(page, ".chat-link[aria-current]", "outlineStyle") == "solid"
        assert style(page, ".running-mark", "backgroundColor") != style(
            page, "body", "backgroundColor"
        )


# The controls that do not show the focus: neither by a ring of their own nor by one of their box.
RINGLESS = """
() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter(one => one.type !== "hidden" && !one.disabled && one.tabIndex >= 0)
  .filter(one => one.checkVisibility({ visibilityProperty: true }))
  .filter(one => {
    one.focus({ focusVisible: true, preventScroll: true });
    const around = one.matches("textarea") && one.closest(".composer, .edit-form");
    const { outlineStyle, outlineWidth } = getComputedStyle(around || one);
    const isRinged = outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
    return document.activeElement !== one || !isRinged;
  })
  .map(one => one.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("name", ["first-visit", "chat", "edit", "queued", "settings", "sign-in"])
def test_forced_colours_show_the_focus_on_everything(
    browser: Browser, site: SeededSite, name: str
) -> None:
    with shown(browser, site, BY_NAME[name], forced_colors="active") as page:
        assert page.evaluate(RINGLESS) == []


def style(page: Page, selector: str, name: str) -> str:
    # At once: a list that is drawn anew leaves an element without a style behind.
    look = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    return page.evaluate(look, [selector, name])


# The page itself hides what is too wide for it, so each part is looked at. What may scroll alone
# are blocks that cannot wrap; what is cut with an ellipsis is cut on purpose.
STICKING_OUT = """
() => {
  const mayScroll = ".code-block pre, .table-scroll, .math-box, math";
  const isCut = one => getComputedStyle(one).textOverflow === "ellipsis";
  const told = one => one.outerHTML.slice(0, 120);
  const { clientWidth: width, scrollWidth } = document.documentElement;
  const out = scrollWidth > width ? ["the page"] : [];
  for (const one of document.querySelectorAll("body *")) {
    if (one.closest(mayScroll) || one.closest(".visually-hidden, .skip-link, svg")) continue;
    if (!one.checkVisibility({ visibilityProperty: true })) continue;
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
    if (scrolls && one.scrollWidth > one.clientWidth) out.push(`${told(one)} scrolls`);
    const box = one.getBoundingClientRect();
    if (!box.width || (box.left > -0.5 && box.right < width + 0.5)) continue;
    let part = one.parentElement;
    while (part && !isCut(part)) part = part.parentElement;
    if (!part) out.push(`${told(one)} from ${box.left} to ${box.right}`);
  }
  return out;
}
"""


def sticking_out(page: Page) -> list[str]:
    """What is wider than the screen, or makes a part of the page scroll sideways."""
    return page.evaluate(STICKING_OUT)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_nothing_keeps_people_from_using_a_page_from_320_pixels_to_4k(
    browser: Browser, site: SeededSite, state: State, shot: Callable[..., None]
) -> None:
    """axe-core finds nothing serious in either theme, and nothing scrolls sideways."""
    # axe is put into the page, which the pages' own policy would refuse.
    with shown(browser, site, state, bypass_csp=True) as page:
        for theme in THEMES:
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            assert page.evaluate(f"matchMedia('(prefers-color-scheme: {theme})').matches")
            assert serious(page) == [], theme
        for width in (320, 390, 768, 1200, 3840):
            page.set_viewport_size({"width": width, "height": 700})
            assert sticking_out(page) == []
        # Nor where one reads from right to left.
        page.evaluate("document.documentElement.dir = 'rtl'")
        for viewport in (NARROW, WIDE):
            page.set_viewport_size(viewport)
            shot(page, f"rtl-{state.name}-{viewport['width']}")
            assert outside(page) == []


SMALL_TARGETS = """
least => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter(one => one.type !== "hidden" && !one.disabled)
  .filter(one => one.checkVisibility({ visibilityProperty: true }))
  .filter(one => !one.closest(".skip-link, .visually-hidden, [aria-hidden=true]"))
  // A link in a sentence has its height.
  .filter(one => getComputedStyle(one).display !== "inline"
    || one.parentElement.textContent.trim() === one.textContent.trim())
  .map(one => [one, one.getBoundingClientRect()])
  .filter(([, box]) => box.width < least || box.height < least)
  .map(([one, box]) => `${one.outerHTML.slice(0, 120)} ${box.width} × ${box.height}`)
"""


def small_targets(page: Page) -> list[str]:
    """What is too small for a finger: less than 44 pixels wide or high."""
    return page.evaluate(SMALL_TARGETS, 43.9)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_finger_hits_everything(browser: Browser, site: SeededSite, state: State) -> None:
    phone = {"viewport": {"width": 320, "height": 700}, "has_touch": True, "is_mobile": True}
    with shown(browser, site, state, **phone) as page:
        assert page.evaluate("matchMedia('(pointer: coarse)').matches")
        assert small_targets(page) == []
        assert sticking_out(page) == []


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

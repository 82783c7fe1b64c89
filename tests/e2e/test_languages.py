"""Every page in Korean, and from right to left: nothing is cut off, nothing scrolls sideways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from scripts.states import STATES, SeededSite, State, out_of_date, seeded_site, shown
from tests.services import Server

from .test_story import ENDED, ask_echo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = pytest.mark.e2e

NARROW: ViewportSize = {"width": 390, "height": 844}
WIDE: ViewportSize = {"width": 1200, "height": 800}
# Parts that hold more than they show, on purpose, and what is hidden from the eye alone.
MAY_SCROLL = ".table-scroll, pre, .math, .chat-title, .sidebar-user, select, textarea, input, .hint"
# What sticks out of the window, or of its own box, a line each.
OUTSIDE = """(mayScroll) => {
  const said = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) said.push(`page: ${root.scrollWidth}`);
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility({visibilityProperty: true}) || element.closest("svg")) continue;
    if (element.closest(`.visually-hidden, .skip-link, ${mayScroll}`)) continue;
    const words = element.textContent.trim().slice(0, 30);
    const name = `${element.tagName}.${element.className} ${words}`;
    const {left, right, width} = element.getBoundingClientRect();
    if (width > 1 && (left < -1 || right > innerWidth + 1)) said.push(`${name}: ${left} ${right}`);
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    if ((scrolls || element.matches(".button, .menu-item, .example")) &&
        element.scrollWidth > element.clientWidth + 1) said.push(`${name}: scrolls`);
  }
  return said;
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[SeededSite]:
    with seeded_site() as site:
        yield site


def outside(page: Page) -> list[str]:
    return page.evaluate(OUTSIDE, MAY_SCROLL)


# Those that are told by their English words are left out.
@pytest.mark.parametrize(
    "state",
    [state for state in STATES if "text" not in state.shows and state.act is not out_of_date],
    ids=lambda state: state.name,
)
def test_a_page_in_korean_has_room_for_its_words(
    browser: Browser, site: SeededSite, state: State, shot: Callable[..., None]
) -> None:
    with shown(browser, site, state, locale="ko-KR", viewport=NARROW) as page:
        assert page.get_attribute("html", "lang") == "ko"
        assert page.evaluate("getComputedStyle(document.body).wordBreak") == "keep-all"
        for viewport in (NARROW, WIDE):
            page.set_viewport_size(viewport)
            shot(page, f"ko-{state.name}-{viewport['width']}")
            assert outside(page) == []


def test_what_sticks_out_would_be_seen(browser: Browser, site: SeededSite) -> None:
    with shown(browser, site, STATES[0], viewport=NARROW) as page:
        page.evaluate("document.querySelector('h1').style.translate = '300px'")
        page.evaluate("document.querySelector('.example').style.width = '20px'")
        page.evaluate("document.querySelector('.example').style.overflow = 'hidden'")
        page.evaluate("document.querySelector('.example').style.whiteSpace = 'nowrap'")
        said = " ".join(outside(page))
        assert "H1" in said
        assert "BUTTON.example" in said


def test_the_end_of_an_answer_is_told_in_korean(browser: Browser, server: Server) -> None:
    context = browser.new_context(locale="ko-KR", base_url=server.url)
    context.set_default_timeout(20_000)
    page = context.new_page()
    ask_echo(page)
    page.click(".stop-form button")
    page.wait_for_selector(ENDED)
    foot = page.locator(".message-assistant .stream-foot")
    pushed = foot.inner_text()
    assert "중지했습니다." in pushed
    assert "다시 시도" in pushed
    assert "이어서 쓰기" in pushed
    page.reload()
    assert foot.inner_text() == pushed
    context.close()

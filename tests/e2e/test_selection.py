"""What a reader selects stays as it is while text streams into it, and nothing is lost for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from conversations.lab.provider import Script, process
from tests.services import Server, wait_until

from .conftest import count, stored_text
from .test_live_region import DONE, STARTED, WATCH, told
from .test_page import stop
from .test_story import ENDED, RUNNING, answer_text, ask, same_as_fresh

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

PROSE = "".join(
    f"Paragraph {n} has some **bold words** and `code`. "
    + "And many that are plain. " * 25
    + "\n\n"
    for n in range(1, 4)
)
CODE = (
    "Look:\n\n```python\n" + "".join(f"line_{n} = {n} * 2\n" for n in range(60)) + "```\n\nDone.\n"
)
SCRIPTS = {
    # About 5 s each.
    "prose": Script(text=PROSE, size=6, rate=75),
    "code": Script(text=CODE, size=4, rate=75),
    "swift": Script(text=PROSE + CODE + PROSE, size=8, rate=120),
}
BODY = ".message-assistant:last-child .stream-body"
OPEN = f"{BODY} .stream-open"
SELECTED = "getSelection().toString()"
# Where characters of an element's text stand, by their numbers in it.
PLACES = """([selector, ...numbers]) => numbers.map((number) => {
  const texts = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
  let node = texts.nextNode();
  while (node.length <= number) {
    number -= node.length;
    node = texts.nextNode();
  }
  const range = document.createRange();
  range.setStart(node, number);
  range.setEnd(node, number + 1);
  const { left, top, height } = range.getBoundingClientRect();
  return [left, top + height / 2];
})"""


@pytest.fixture(scope="module")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with process(SCRIPTS, tmp_path_factory.mktemp("provider")) as port:
        yield port


@pytest.fixture
def more_env() -> dict[str, str]:
    return {
        "OPENAI_MODELS": ",".join(SCRIPTS),
        "DEFAULT_MODEL": "openai:prose",
        # A killed writer is noticed sooner.
        "STREAMING_ABANDONED_SECONDS": "4",
        "STREAMING_SWEEP_SECONDS": "1",
    }


@pytest.fixture
def page(context: BrowserContext) -> Page:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    # So high that nothing scrolls away from under the mouse before it is down.
    page.set_viewport_size({"width": 1200, "height": 2400})
    page.add_init_script(WATCH)
    return page


def more_chunks(server: Server, number: int = 20) -> None:
    """Wait until so many more chunks are committed: each comes with a frame."""
    enough = count(server, "streaming_chunk") + number
    wait_until(lambda: count(server, "streaming_chunk") >= enough, "More text is committed")


def wait_for_open(page: Page, length: int = 60, start: str = "Paragraph") -> None:
    page.wait_for_function(
        "([selector, start, length]) => { const text ="
        " document.querySelector(selector)?.textContent ?? '';"
        " return text.startsWith(start) && text.length > length }",
        arg=[OPEN, start, length],
    )


def drag(page: Page, start: list[float], end: list[float], meanwhile: Callable[[], None]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    meanwhile()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def select_by_mouse(server: Server, page: Page) -> str:
    start, end = page.evaluate(PLACES, [OPEN, 2, 12])
    # Text comes between the hand's going down and its moving.
    drag(page, start, end, lambda: more_chunks(server, 4))
    return "ragraph "


def select_by_keys(server: Server, page: Page) -> str:
    page.mouse.dblclick(*page.evaluate(PLACES, [OPEN, 2])[0])
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    return "Paragraph"


def select_all(server: Server, page: Page) -> str:
    page.focus(".scroller")
    page.keyboard.press("Control+a")
    return "Paragraph"


def fresh_html(page: Page) -> str:
    """The answer as a page shows it that was loaded now."""
    page.reload()
    return html(page)


def html(page: Page) -> str:
    # Without the element of the open block, which a page that was loaded later has not.
    return page.evaluate(
        "(selector) => document.querySelector(selector).innerHTML"
        ".replace(/<div id=[^>]*stream-open[^>]*><.div>/, '').trim()",
        BODY,
    )


def let_go(page: Page) -> None:
    page.click("#composer-text")
    assert page.evaluate("getSelection().isCollapsed")


@pytest.mark.parametrize("select", [select_by_mouse, select_by_keys, select_all])
def test_a_selection_in_the_block_that_is_written_stays_and_the_rest_follows(
    server: Server, page: Page, select: Callable[[Server, Page], str]
) -> None:
    ask(page)
    wait_for_open(page)
    expected = select(server, page)
    selected = page.evaluate(SELECTED)
    assert expected in selected
    shown = html(page)
    more_chunks(server)
    assert page.evaluate(SELECTED) == selected
    assert html(page) == shown
    page.keyboard.press("Control+c")
    copied = page.evaluate("navigator.clipboard.readText()")
    # Of a whole page buttons are not copied.
    assert copied == selected or (select is select_all and page.inner_text(OPEN) in copied)
    # What does not come meanwhile is said to be there.
    assert page.locator(".to-bottom").is_visible()
    length = len(stored_text(server))
    page.evaluate(
        "window.ends = []; new MutationObserver((records) => records.forEach(({ target }) =>"
        " ends.push(Number(target.dataset.end)))).observe("
        "document.querySelector('.stream[data-stream]'), { attributeFilter: ['data-end'] })"
    )
    let_go(page)
    page.wait_for_function("() => ends.length > 0")
    ends = page.evaluate("ends")
    assert ends[0] >= length, "All that was held back comes in one step"
    page.wait_for_selector(ENDED)
    assert stored_text(server) == PROSE
    shown = html(page)
    same_as_fresh(page, PROSE)
    assert shown == fresh_html(page)


def test_a_selection_from_a_closed_block_into_the_open_one_stays(
    server: Server, page: Page
) -> None:
    ask(page)
    wait_for_open(page, start="Paragraph 2")
    (start,) = page.evaluate(PLACES, [f"{BODY} > p", 10])
    (end,) = page.evaluate(PLACES, [OPEN, 20])
    drag(page, start, end, lambda: None)
    selected = page.evaluate(SELECTED)
    assert selected.startswith("1 has some bold words")
    assert selected.endswith("Paragraph 2 has some")
    more_chunks(server)
    assert page.evaluate(SELECTED) == selected
    let_go(page)
    page.wait_for_selector(ENDED)
    shown = html(page)
    same_as_fresh(page, PROSE)
    assert shown == fresh_html(page)


def test_a_selection_in_closed_blocks_holds_nothing_back(server: Server, page: Page) -> None:
    ask(page)
    wait_for_open(page, start="Paragraph 2")
    start, end = page.evaluate(PLACES, [f"{BODY} > p", 0, 11])
    drag(page, start, end, lambda: None)
    assert page.evaluate(SELECTED) == "Paragraph 1"
    top = page.locator(f"{BODY} > p").first.bounding_box()["y"]
    page.set_viewport_size({"width": 1200, "height": 400})
    page.wait_for_selector(ENDED)
    same_as_fresh(page, PROSE)
    assert page.evaluate(SELECTED) == "Paragraph 1"
    # Nor does the page run on below what is read.
    assert page.locator(f"{BODY} > p").first.bounding_box()["y"] == top


def test_an_end_during_the_hold_is_told_and_its_text_follows(server: Server, page: Page) -> None:
    ask(page)
    wait_for_open(page, start="Paragraph 2")
    select_by_keys(server, page)
    selected = page.evaluate(SELECTED)
    page.wait_for_selector(ENDED)
    page.wait_for_selector(".stop-form", state="detached")
    assert page.evaluate(SELECTED) == selected
    assert answer_text(page) != PROSE
    assert told(page) == [STARTED, DONE]
    # Copy gives what is committed, not what is shown.
    page.focus(".stream-foot [data-copy]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".stream-foot [data-copy] use[href='#icon-check']", state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == PROSE
    assert page.evaluate(SELECTED) == selected
    foot = page.query_selector(".stream-foot [data-copy]")
    let_go(page)
    page.wait_for_selector(".stream:not([data-held])")
    page.wait_for_selector(ENDED)
    same_as_fresh(page, PROSE)
    assert page.locator(".to-bottom").is_hidden()
    assert told(page) == [STARTED, DONE]
    assert foot.evaluate("button => button.isConnected")
    shown = html(page)
    assert shown == fresh_html(page)


@pytest.mark.parametrize("by", ["key", "button"])
def test_an_answer_whose_text_is_selected_can_be_stopped(
    server: Server, page: Page, by: str
) -> None:
    ask(page)
    wait_for_open(page)
    select_by_keys(server, page)
    selected = page.evaluate(SELECTED)
    more_chunks(server, 8)
    if by == "key":
        page.keyboard.press("Escape")
        page.wait_for_selector("text=Stopped.")
        assert page.evaluate(SELECTED) == selected
        let_go(page)
    else:
        stop(page)
        let_go(page)
    page.wait_for_selector(".stream:not([data-held])")
    page.wait_for_selector(ENDED)
    assert len(stored_text(server)) < len(PROSE)
    same_as_fresh(page, stored_text(server))
    assert told(page) == [STARTED, "Stopped."]


def test_a_selection_in_code_that_is_written_outlives_its_colours(
    server: Server, page: Page
) -> None:
    ask(page, model="code")
    page.wait_for_selector(f"{OPEN} code:has-text('line_9 =')")
    start, end = page.evaluate(PLACES, [f"{OPEN} code", 0, 6])
    drag(page, start, end, lambda: more_chunks(server, 3))
    assert page.evaluate(SELECTED) == "line_0"
    page.wait_for_selector(ENDED)
    assert page.evaluate(SELECTED) == "line_0"
    let_go(page)
    page.wait_for_selector(".stream:not([data-held])")
    page.wait_for_selector(ENDED)
    same_as_fresh(page, CODE)
    shown = html(page)
    assert page.locator(f"{BODY} code span").count() > 0
    page.reload()
    page.wait_for_selector(".code-copy")
    assert shown == html(page)


def test_selecting_and_letting_go_all_the_time_loses_and_doubles_nothing(
    server: Server, page: Page
) -> None:
    ask(page, model="swift")
    page.wait_for_selector(RUNNING)
    page.focus(".scroller")
    page.evaluate(
        """([open, body]) => {
          let times = 0;
          window.held = 0;
          document.addEventListener("streaming:held", () => { held += 1; });
          window.busy = setInterval(() => {
            times += 1;
            const node = document.querySelector(times % 3 ? open : body);
            if (times % 2) getSelection().selectAllChildren(node);
            else getSelection().removeAllRanges();
          }, 23);
        }""",
        [OPEN, BODY],
    )
    page.wait_for_selector(ENDED)
    page.evaluate("clearInterval(busy); getSelection().removeAllRanges()")
    page.wait_for_selector(".stream:not([data-held])")
    page.wait_for_selector(ENDED)
    text = PROSE + CODE + PROSE
    assert page.evaluate("held") > 20
    assert stored_text(server) == text
    same_as_fresh(page, text)
    assert told(page) == [STARTED, DONE]


def test_a_selection_outlives_the_server_that_wrote_it(server: Server, page: Page) -> None:
    ask(page)
    wait_for_open(page)
    select_by_keys(server, page)
    selected = page.evaluate(SELECTED)
    more_chunks(server, 4)
    server.kill9()
    server.start()
    page.wait_for_selector("text=Interrupted: the server restarted.")
    assert page.evaluate(SELECTED) == selected
    let_go(page)
    page.wait_for_selector(".stream:not([data-held])")
    page.wait_for_selector(ENDED)
    same_as_fresh(page, stored_text(server))


def test_the_button_lets_go_and_leads_to_the_end(server: Server, page: Page) -> None:
    page.set_viewport_size({"width": 1200, "height": 400})
    ask(page)
    wait_for_open(page, start="Paragraph 2")
    select_all(server, page)
    more_chunks(server)
    page.click(".to-bottom")
    page.wait_for_selector(ENDED)
    same_as_fresh(page, PROSE)
    assert page.locator(".to-bottom").is_hidden()
    assert page.evaluate(
        "() => { const s = document.querySelector('.scroller');"
        " return s.scrollHeight - s.scrollTop - s.clientHeight < 2; }"
    )

"""Calm reading: what is read stays where it is, whatever comes above, below or in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import Server, wait_until

from .test_story import ENDED, RUNNING, answer_text, ask, wait_for_text

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.e2e

LONG = """
from conversations.models import Conversation, Message
chat = Conversation.objects.get()
parent = chat.leaf
for number in range(400):
    role = "assistant" if number % 2 else "user"
    text = f"Message {number}. " + "Some words of it. " * (number * 7 % 90)
    parent = Message.objects.create(conversation=chat, parent=parent, role=role, content=text)
Conversation.objects.update(leaf=parent)
"""
# The first message that is wholly seen: its id and where it stands.
SEEN = """() => {
  const top = document.querySelector('.scroller').getBoundingClientRect().top;
  const one = [...document.querySelectorAll('.message')].find(
    (message) => message.getBoundingClientRect().top >= top);
  return [one.id, one.getBoundingClientRect().top];
}"""
PLACE = "(id) => document.getElementById(id).getBoundingClientRect().top"
# Two frames: what has come above has been laid out.
FRAMES = "() => new Promise((ready) => requestAnimationFrame(() => requestAnimationFrame(ready)))"


def count(page: Page) -> int:
    return page.locator(".message").count()


def long_chat(server: Server, page: Page) -> str:
    """Its address; of 402 messages."""
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    server.manage("shell", "--command", LONG)
    page.reload()
    return page.url


def test_earlier_messages_come_without_moving_what_is_read(server: Server, page: Page) -> None:
    long_chat(server, page)
    assert count(page) == 50
    held: list[Route] = []
    page.route("**/earlier/**", lambda route: held.append(route))
    for shown in (100, 150, 200):
        page.evaluate("document.querySelector('.scroller').scrollTop = 0")
        # Asked for as one gets near; what the eye has come to must have its own height first.
        wait_until(lambda: page.evaluate(FRAMES) or held, "earlier messages are asked for")
        page.evaluate(FRAMES)
        message, top = page.evaluate(SEEN)
        held.pop().continue_()
        page.wait_for_function(
            "(n) => document.querySelectorAll('.message').length === n", arg=shown
        )
        for _ in range(5):
            page.evaluate(FRAMES)
            assert abs(page.evaluate(PLACE, message) - top) <= 2
    ids = page.eval_on_selector_all(".message", "all => all.map((one) => Number(one.id.slice(8)))")
    assert ids == sorted(set(ids))
    # A new message stands under all of them.
    page.fill("#composer-text", "The newest")
    page.press("#composer-text", "Enter")
    page.wait_for_function(
        "(n) => document.querySelectorAll('.message').length === n", arg=len(ids) + 2
    )
    page.evaluate(FRAMES)
    assert page.locator(".bubble").last.inner_text() == "The newest"


def test_a_jump_to_an_old_message_reaches_the_newest_by_scrolling(
    server: Server, page: Page
) -> None:
    url = long_chat(server, page)
    newest = int(page.locator(".message").last.get_attribute("id").removeprefix("message-"))
    old = newest - 390
    page.goto(f"{url}?at={old}#message-{old}")
    assert page.locator(f"#message-{old}").is_visible()
    assert page.locator(f"#message-{newest}").count() == 0
    page.mouse.move(600, 300)
    # Counted first: what comes by itself after the end was looked for would not be waited for.
    before = count(page)
    while page.locator(".elsewhere-later").count():
        page.mouse.wheel(0, 100_000)
        page.wait_for_function(
            "(n) => document.querySelectorAll('.message').length > n", arg=before
        )
        page.evaluate(FRAMES)
        # One is still where one had come to, and not behind what has come.
        assert count(page) - before <= 50
        before = count(page)
    page.wait_for_selector(f"#message-{newest}")
    ids = page.eval_on_selector_all(".message", "all => all.map((one) => Number(one.id.slice(8)))")
    assert ids == list(range(ids[0], newest + 1))
    assert page.get_attribute("#shown [name=last]", "value") == "0"


def test_the_smallest_step_up_is_a_wish_to_stay(page: Page, shot: Callable[..., None]) -> None:
    ask(page)
    wait_for_text(page)
    page.wait_for_function(
        "() => { const s = document.querySelector('.scroller');"
        " return s.scrollHeight > s.clientHeight + 100; }"
    )
    page.mouse.move(600, 300)
    page.mouse.wheel(0, -20)
    page.wait_for_selector(".to-bottom", state="visible")
    shot(page, "reading-new-text")
    page.focus(".to-bottom")
    page.keyboard.press("Enter")
    page.wait_for_selector(".to-bottom", state="hidden")
    assert page.evaluate("document.activeElement.className") == "scroller"


def test_the_title_marks_an_answer_that_ended_unseen(page: Page) -> None:
    ask(page, model="brief")
    wait_for_text(page)
    hide = (
        "(hidden) => { Object.defineProperty(document, 'hidden',"
        " { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)
    assert not page.title().startswith("●")
    page.wait_for_selector(ENDED)
    page.wait_for_function("() => document.title.startsWith('● ')")
    page.evaluate(hide, False)
    page.wait_for_function("() => !document.title.startsWith('●')")


# What a closed block loses, or changes, from now on.
RETYPED = """() => {
  window.retyped = [];
  new MutationObserver((records) => {
    for (const { target, type, removedNodes } of records) {
      const element = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
      if (!element?.closest(".stream-body, .bubble") || element.closest(".stream-open")) continue;
      if (type === "characterData" || removedNodes.length) retyped.push(element.outerHTML);
    }
  }).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""
# How far it is to the end.
TO_GO = """() => {
  const { scrollHeight, scrollTop, clientHeight } = document.querySelector(".scroller");
  return scrollHeight - scrollTop - clientHeight;
}"""
# The first block of the answer that is wholly seen, and where it stands.
SEEN_BLOCK = """() => {
  const top = document.querySelector(".scroller").getBoundingClientRect().top;
  const blocks = [...document.querySelectorAll(".stream-body > :not(.stream-open)")];
  window.seen = blocks.find((block) => block.getBoundingClientRect().top >= top);
  return seen.getBoundingClientRect().top;
}"""
SEEN_AT = "() => seen.getBoundingClientRect().top"


def ask_at_length(page: Page) -> None:
    """The answer runs on, and the page is too small for what it has already."""
    page.set_viewport_size({"width": 1100, "height": 420})
    ask(page, model="long")
    page.wait_for_function("() => document.querySelectorAll('.stream-body > p').length > 8")
    page.wait_for_function(f"() => ({TO_GO})() < 2")


def test_no_text_that_was_closed_is_typed_again(page: Page) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.evaluate(RETYPED)
    ask(page, "And once more", "brief")
    page.wait_for_selector(RUNNING)
    page.wait_for_selector(ENDED)
    assert page.locator(".message-assistant:last-child table").count() == 3
    assert page.evaluate("retyped") == []


# What moves within the answer from the frame in which it was drawn first.
MOVED = """
window.moved = [];
let before = [];
const look = () => {
  const body = document.querySelector(".message-assistant:last-child .stream-body");
  if (body) {
    const { top } = body.getBoundingClientRect();
    const now = [...body.querySelectorAll("h1, h2, p, li, tr, pre")].map((block) => (
      { name: block.tagName, depth: block.getBoundingClientRect().top - top }
    ));
    now.forEach(({ name, depth }, number) => {
      const known = before[number];
      const isMoved = known?.name === name && Math.abs(known.depth - depth) > 1;
      if (isMoved) moved.push([name, known.depth, depth]);
    });
    before = now;
  }
  requestAnimationFrame(look);
};
look();
"""


def test_no_block_moves_while_the_answer_is_written(page: Page) -> None:
    page.add_init_script(MOVED)
    ask(page, model="brief")
    page.wait_for_selector(ENDED)
    assert page.locator(".message-assistant:last-child :is(h1, p, li, tr, pre)").count() > 30
    assert page.evaluate("moved") == []


def test_what_is_read_stays_in_its_place_whatever_happens_around_it(page: Page) -> None:
    ask_at_length(page)
    page.mouse.move(600, 150)
    page.mouse.wheel(0, -400)
    page.wait_for_selector(".to-bottom", state="visible")
    page.evaluate(FRAMES)
    top = page.evaluate(SEEN_BLOCK)

    def is_there() -> bool:
        page.evaluate(FRAMES)
        page.evaluate(FRAMES)
        return abs(page.evaluate(SEEN_AT) - top) <= 2

    for width, height in ((1100, 600), (1100, 420), (940, 420), (1300, 420), (1100, 420)):
        page.set_viewport_size({"width": width, "height": height})
        assert is_there(), (width, height)
    # What waits stands above the composer, and makes the page above it lower.
    page.fill("#composer-text", "one\ntwo\nthree\nfour")
    assert is_there()
    page.press("#composer-text", "Enter")
    page.wait_for_selector(".queued")
    before = len(answer_text(page))
    page.wait_for_function(
        "([length]) => document.querySelector('.stream-body').textContent.length > length",
        arg=[before + 20],
    )
    assert is_there()
    page.press("#composer-text", "Escape")
    page.wait_for_selector("text=Stopped.")
    page.wait_for_selector(".stop-form", state="detached")
    assert is_there()


def test_who_is_at_the_end_stays_there_when_the_page_becomes_smaller(page: Page) -> None:
    """As by a phone's keyboard, which makes a page lower that says `resizes-content`."""
    ask_at_length(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert "interactive-widget=resizes-content" in page.get_attribute(
        "meta[name=viewport]", "content"
    )
    for height in (844, 430, 300):
        page.set_viewport_size({"width": 390, "height": height})
        page.focus("#composer-text")
        page.evaluate(FRAMES)
        page.wait_for_function(f"() => ({TO_GO})() < 2")
        for seen in ("#composer-text", "#composer .send-button", ".stop-form button"):
            box = page.locator(seen).bounding_box()
            assert 0 <= box["y"] <= box["y"] + box["height"] <= height, (seen, height)
    assert page.evaluate("document.documentElement.scrollTop") == 0
    assert page.locator(".to-bottom").is_hidden()


def test_nothing_scrolls_smoothly_where_less_motion_is_asked_for(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    ask_at_length(page)
    page.mouse.move(600, 150)
    page.mouse.wheel(0, -100)
    page.wait_for_selector(".to-bottom", state="visible")
    jump = f"() => {{ document.querySelector('.to-bottom').click(); return ({TO_GO})(); }}"
    assert page.evaluate(jump) < 2
    # In one go: text that comes meanwhile takes elements away.
    behaviours = "Array.from(document.all, (one) => getComputedStyle(one).scrollBehavior)"
    assert page.evaluate(f"[...new Set({behaviours})]") == ["auto"]

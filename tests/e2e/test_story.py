"""The product's story in a real browser: ask, reload, a second tab, stop, sign up, fail, retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from conversations import answers
from conversations.markdown import renderer
from tests.services import Server

from .conftest import ANSWER, count, stored_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

ANSWER_TEXT = ".message-assistant:last-child .stream-body"
RUNNING = ".message-assistant:last-child .stream[data-stream]"
ENDED = ".message-assistant:last-child .stream:not([data-stream])"
# A killed writer is noticed sooner.
soon = pytest.mark.parametrize(
    "more_env", [{"STREAMING_ABANDONED_SECONDS": "4", "STREAMING_SWEEP_SECONDS": "1"}], ids=["soon"]
)


def ask(page: Page, text: str = "Tell me about streams", model: str = "") -> None:
    """Open the start page, if the page is not a chat yet, and send a message by the keyboard."""
    if page.url == "about:blank":
        page.goto("/")
    # Before, Enter is a line feed.
    page.wait_for_selector("html.has-script")
    if model:
        page.select_option("select[name=model]", f"openai:{model}")
    # While an answer runs, what is sent waits.
    page.wait_for_selector(".stop-form", state="detached")
    page.fill("#composer-text", text)
    page.press("#composer-text", "Enter")


def ask_echo(page: Page) -> str:
    """Send a message to echo, which answers a character each 50 ms; the whole answer."""
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    words = "one two three four five six seven eight nine ten"
    page.fill("#composer-text", words)
    page.press("#composer-text", "Enter")
    return f'I received your message: "{words}". How can I help you further?'


def shown(page: Page) -> str:
    """The answer's text as the page shows it; empty before it is there."""
    element = page.query_selector(ANSWER_TEXT)
    return element.inner_text() if element else ""


def wait_for_text(page: Page, longer_than: int = 0) -> str:
    page.wait_for_function(
        "([selector, length]) => (document.querySelector(selector)?.innerText.trim().length ?? 0)"
        " > length",
        arg=[ANSWER_TEXT, longer_than],
    )
    return shown(page)


def answer_text(page: Page) -> str:
    """The text of the newest answer's body, without the buttons that the page's script adds."""
    return page.evaluate(
        "selector => { const body = document.querySelector(selector).cloneNode(true);"
        " body.querySelectorAll('button').forEach(button => button.remove());"
        " return body.textContent }",
        ANSWER_TEXT,
    )


def same_as_fresh(page: Page, text: str, *, runs: bool = False) -> None:
    """The page's answer is what a page that renders all of the text at once would show.

    Of the end of one that `runs` that is what is decided.
    """
    html = renderer.render(text)
    if runs:
        document = answers.renderer.live(text)
        html = document.closed_html + document.open_html
    expected = page.evaluate(
        "html => { const div = document.createElement('div'); div.innerHTML = html;"
        " return div.textContent.trim() }",
        html,
    )
    assert answer_text(page).strip() == expected


def test_a_newcomer_asks_and_the_answer_survives_a_reload_and_a_second_tab(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    page.goto("/")
    assert count(server, "accounts_user") == 0
    assert page.evaluate("document.activeElement.id") == "composer-text"
    shot(page, "first-visit")
    ask(page)
    before = wait_for_text(page, 20)
    shot(page, "running")
    assert count(server, "accounts_user") == 1
    page.reload()
    # What was seen is there at once, and the rest goes on.
    assert shown(page).strip().startswith(before.strip()[:20])
    after = wait_for_text(page, len(before) + 40)
    other = context.new_page()
    other.goto(page.url)
    wait_for_text(other, len(after) + 20)
    shot(other, "second-tab")
    for tab in (page, other):
        tab.wait_for_selector(ENDED)
        assert stored_text(server) == ANSWER * 3
        same_as_fresh(tab, ANSWER * 3)
        assert tab.locator(f"{ANSWER_TEXT} table").count() == 3
        assert tab.locator(f"{ANSWER_TEXT} pre code").count() == 3
        # The stop button is gone, the next message may be sent.
        tab.wait_for_selector(".stop-form", state="detached")
    shot(page, "ended")
    assert count(server, "conversations_message") == 2


def test_a_second_tab_shows_what_is_sent_in_the_first(context: BrowserContext, page: Page) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    other = context.new_page()
    other.goto(page.url)
    assert other.locator(".message").count() == 2
    ask(page, "And once more")
    other.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    for tab in (page, other):
        tab.wait_for_selector(ENDED)
        same_as_fresh(tab, ANSWER)
        assert tab.locator(".bubble").all_text_contents() == [
            "Tell me about streams",
            "And once more",
        ]


def test_stop_from_the_other_tab_keeps_the_text(
    server: Server, context: BrowserContext, page: Page, shot: Callable[..., None]
) -> None:
    ask(page)
    wait_for_text(page, 40)
    other = context.new_page()
    other.goto(page.url)
    wait_for_text(other)
    other.click(".stop-form button")
    for tab in (page, other):
        tab.wait_for_selector(ENDED)
        tab.wait_for_selector("text=Stopped.")
        same_as_fresh(tab, stored_text(server))
    shot(page, "stopped")
    text = stored_text(server)
    assert 0 < len(text) < len(ANSWER * 3)
    page.reload()
    same_as_fresh(page, text)
    # Retry in one click: a second answer beside the first, which is not overwritten.
    page.click("text=Retry")
    page.wait_for_selector(RUNNING)
    assert count(server, "streaming_stream") == 2


def test_a_guest_signs_up_while_the_answer_runs(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    ask(page)
    wait_for_text(page, 20)
    chat = page.url
    page.click("text=Sign up to keep your chats")
    page.fill("input[name=email]", "new@example.com")
    for field in page.locator("input[type=password]").all():
        field.fill("correct horse battery staple")
    shot(page, "sign-up")
    page.click("main button[type=submit], main form button")
    page.wait_for_load_state()
    page.goto(chat)
    before = wait_for_text(page, 20)
    wait_for_text(page, len(before) + 20)
    shot(page, "signed-up-while-running")
    page.wait_for_selector(ENDED)
    same_as_fresh(page, ANSWER * 3)
    assert count(server, "accounts_user") == 1
    assert page.locator("text=new@example.com").count() >= 1


@soon
def test_a_killed_server_loses_nothing_that_was_seen(
    server: Server, page: Page, shot: Callable[..., None]
) -> None:
    ask(page)
    wait_for_text(page, 60)
    server.kill9()
    stored = stored_text(server)
    # What was seen, and below what is shown afterwards: both are the stored text, up to a position.
    same_as_fresh(page, stored[: int(page.get_attribute(".stream", "data-end"))], runs=True)
    shot(page, "server-gone")
    server.start()
    # The page comes back by itself; the answer that its writer left ends in words, with Retry.
    page.wait_for_selector(ENDED, timeout=20_000)
    page.wait_for_selector("text=Interrupted: the server restarted.")
    shot(page, "interrupted")
    same_as_fresh(page, stored)
    assert stored_text(server) == stored
    page.click("text=Retry")
    page.wait_for_selector(RUNNING)
    wait_for_text(page, 10)


@soon
def test_echo_carries_on_after_the_server_was_killed(server: Server, page: Page) -> None:
    expected = ask_echo(page)
    seen = wait_for_text(page, 25)
    server.kill9()
    server.start()
    page.wait_for_selector(ENDED, timeout=25_000)
    assert shown(page).strip() == expected
    assert expected.startswith(seen.strip())
    assert stored_text(server) == expected


def test_a_restart_in_mid_answer_is_a_pause(server: Server, page: Page) -> None:
    """An operator's restart (SIGTERM): echo is handed over, and the page waits for nothing."""
    expected = ask_echo(page)
    seen = wait_for_text(page, 25)
    assert server.stop() == 0
    server.start()
    page.wait_for_selector(ENDED, timeout=20_000)
    assert page.locator("text=Resumed after an interruption.").is_visible()
    assert shown(page).strip() == expected
    assert expected.startswith(seen.strip())
    assert stored_text(server) == expected


@pytest.mark.parametrize(
    ("model", "sentence"), [("cut", "was lost"), ("limited", "rate limit, try again in 60 s")]
)
def test_a_failing_provider_is_told_in_words_with_retry(
    server: Server, page: Page, shot: Callable[..., None], model: str, sentence: str
) -> None:
    ask(page, model=model)
    page.wait_for_selector(ENDED)
    state = page.locator(".message-assistant .state").inner_text()
    assert sentence in state
    assert "127.0.0.1" not in state
    same_as_fresh(page, stored_text(server))
    assert page.locator("text=Retry").is_visible()
    shot(page, f"failed-{model}")


def test_a_message_that_is_too_long_stays_in_the_form(page: Page) -> None:
    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    text = "x" * 32_001
    ask(page, text)
    page.wait_for_function("() => document.querySelector('#composer-error').innerText !== ''")
    assert "32,000" in page.inner_text("#composer-error")
    assert page.input_value("#composer-text") == text
    assert page.locator(".message").count() == 2


def test_without_javascript_a_guest_asks_and_reads(server: Server, browser) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto("/")
    page.select_option("select[name=model]", "openai:quick")
    page.fill("#composer-text", "Plain HTML")
    page.click("#composer button.send-button")
    assert page.locator(".bubble").inner_text() == "Plain HTML"
    for _ in range(50):
        if page.locator("text=The end of it.").count():
            break
        page.reload()
    assert page.locator(".message-assistant table").count() == 1
    context.close()

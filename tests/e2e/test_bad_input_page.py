"""What bad input and bad luck get in the page: a sentence in its place, and no text is lost."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from conversations.lab.provider import Script, process
from tests.services import Server

from .conftest import count
from .test_continue import LOOKS
from .test_page import COMPOSER, forget_conversations
from .test_reading import FRAMES
from .test_sidebar import TITLE, choose, row, start_chat
from .test_story import ENDED, ask, wait_for_text

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

SAID = "#composer-error"
GONE = "This chat no longer exists."
SIGNED_OUT = "You were signed out."
# Whether what the panel says can be seen in it.
IN_PANEL = """() => {
  const bottom = document.querySelector("#chat-panel .said").getBoundingClientRect().bottom;
  return bottom <= document.querySelector("#chat-panel").getBoundingClientRect().bottom;
}"""
KEYS = {
    "OWN_KEYS": "openai",
    "OWN_BASE_URLS": "127.0.0.1",
    "FIELD_ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
}


@pytest.fixture
def look_at(shot: Callable[..., None]) -> Callable[[Page, str], None]:
    """`look_at(page, "name")`: shots in both themes and both widths, and nothing sticks out."""

    def look(page: Page, name: str) -> None:
        for one in LOOKS:
            page.emulate_media(color_scheme=one.theme)
            page.set_viewport_size({"width": one.width, "height": one.height})
            page.evaluate(FRAMES)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), one
            shot(page, f"bad-{name}-{one.theme}-{one.width}")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1200, "height": 800})

    return look


def said(page: Page, sentence: str, place: str = SAID) -> None:
    page.wait_for_selector(f"{place}:has-text({sentence!r})")


def sign_out(context: BrowserContext) -> None:
    """In another tab, as a guest who agrees to lose the chats."""
    tab = context.new_page()
    tab.goto("/accounts/sign-out/")
    tab.click("main form button")
    tab.wait_for_selector("text=no account needed")
    tab.close()


def sign_up(page: Page, name: str = "person") -> None:
    page.goto("/accounts/sign-up/")
    page.fill("[name=email]", f"{name}@example.com")
    for field in ("password1", "password2"):
        if page.locator(f"[name={field}]").count():
            page.fill(f"[name={field}]", "a long pass phrase of 1")
    page.click("main form button")
    page.wait_for_selector(".sidebar-foot")


# --- What is typed


def test_a_title_of_ten_thousand_characters(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    choose(page, "A chat", "Rename")
    page.fill(TITLE, "w" * 10_000)
    page.press(TITLE, "Enter")
    sentence = "The title is too long: 10,000 characters, at most 200 are allowed."
    said(page, sentence, ".rename-form .field-error")
    assert page.input_value(TITLE) == "w" * 10_000
    look_at(page, "title")


def test_a_title_that_nobody_would_see_and_one_that_turns_the_words_around(
    server: Server, page: Page, look_at
) -> None:
    start_chat(page, "A chat")
    choose(page, "A chat", "Rename")
    for title in ("   ", "\u200b\u202e", ""):
        page.fill(TITLE, title)
        page.press(TITLE, "Enter")
        said(page, "Enter a title first.", ".rename-form .field-error")
        page.evaluate("document.querySelector('.rename-form .field-error').textContent = ''")
    page.fill(TITLE, "before \u202eafter \ud800 <b>bold</b>")
    page.press(TITLE, "Enter")
    page.wait_for_selector(row("<b>bold</b>"))
    page.wait_for_selector(".chat-head h1:has-text('\ufffd')")
    choose(page, "before", "Delete")
    page.wait_for_selector("#toast >> text=Undo")
    look_at(page, "title-turned")


def test_a_search_of_signs_finds_those_signs_or_says_that_there_are_none(
    server: Server, page: Page
) -> None:
    signs = ["%", '"', "*", "NEAR(", "a OR b)", "_", "\\", "🙂", "' --", "\x01"]
    for query in signs:
        start_chat(page, f"With {query} in it")
    start_chat(page, "Without")
    for query in signs:
        page.fill("#search", query)
        page.wait_for_selector(".search-results .result-link mark")
        # At once: the list of results is drawn anew when a title comes.
        texts = page.eval_on_selector_all(
            ".search-results .result-link", "found => found.map(one => one.innerText)"
        )
        assert texts, query
        assert all(query in text for text in texts), query
        page.fill("#search", f"{query}🙃")
        page.wait_for_selector(".search-said:has-text('No results for')")


def test_a_long_search_and_one_of_spaces(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    page.fill("#search", "x" * 5_000)
    page.wait_for_selector(".search-said:has-text('at most 200 are allowed.')")
    look_at(page, "search")
    page.fill("#search", "     ")
    said(page, "Enter something to search for.", ".search-said")


def test_messages_that_cannot_be_sent(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    # Nothing at all does nothing.
    page.press(COMPOSER, "Enter")
    page.fill(COMPOSER, " \n ")
    page.press(COMPOSER, "Enter")
    said(page, "Write a message first.")
    page.fill(COMPOSER, "y" * 32_001)
    page.press(COMPOSER, "Enter")
    said(page, "The message is too long: 32,001 characters, at most 32,000 are allowed.")
    assert page.input_value(COMPOSER) == "y" * 32_001
    look_at(page, "message-long")
    page.evaluate(f"document.querySelector('{COMPOSER}').value = 'one\\0two'")
    page.press(COMPOSER, "Enter")
    said(page, "Null characters are not allowed.")
    assert "two" in page.input_value(COMPOSER)
    assert count(server, "conversations_message") == 2
    page.evaluate(f"document.querySelector('{COMPOSER}').value = 'a \\ud800 \\u202e b <b>c</b>'")
    page.press(COMPOSER, "Enter")
    page.wait_for_selector(".bubble:has-text('<b>c</b>')")
    assert page.locator(".bubble").last.inner_text() == "a \ufffd \u202e b <b>c</b>"
    page.wait_for_function("() => document.querySelectorAll('.message').length === 4")
    page.wait_for_selector(ENDED)


def test_two_clicks_on_send_are_one_message(server: Server, page: Page) -> None:
    for chat in ("/", None):
        if chat:
            page.goto(chat)
            page.select_option("select[name=model]", "openai:quick")
        page.fill(COMPOSER, "Once")
        page.dblclick("#composer .send-button")
        page.wait_for_function(f"() => document.querySelector('{COMPOSER}').value === ''")
        page.wait_for_selector(ENDED)
        page.wait_for_selector(".stop-form", state="detached")
    assert count(server, "conversations_message") == 4
    assert page.locator(".bubble").all_inner_texts() == ["Once", "Once"]


# --- Settings


@pytest.mark.parametrize("more_env", [KEYS])
def test_settings_that_make_no_sense(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    page.goto("/settings/")
    for value in ("abc", "99", "NaN", "-0.1", "1e400"):
        page.fill("#answers-temperature", value)
        page.locator("#answers-temperature").blur()
        said(page, "The temperature must be a number from 0 to 2.", "#answers .said")
        assert page.input_value("#answers-temperature") == value
        page.fill("#answers-temperature", "")
        page.locator("#answers-temperature").blur()
        said(page, "Saved.", "#answers .said")
    for value in ("-1", str(10**12), "1.5", "9" * 5_000):
        page.fill("#answers-tokens", value)
        page.locator("#answers-tokens").blur()
        said(page, "a whole number of tokens, from 1 to 1,000,000.", "#answers .said")
        assert page.input_value("#answers-tokens") == value
        if value == "-1":
            look_at(page, "settings-tokens")
        page.fill("#answers-tokens", "")
        page.locator("#answers-tokens").blur()
        said(page, "Saved.", "#answers .said")
    page.evaluate("document.querySelector('#answers-prompt').value = 'one\\0two'")
    page.dispatch_event("#answers-prompt", "change")
    said(page, "Null characters are not allowed.", "#answers .said")
    page.fill("#answers-prompt", "p" * 32_001)
    page.locator("#answers-prompt").blur()
    said(page, "The prompt is too long: 32,001 characters", "#answers .said")


def test_saved_prompts_without_a_name_or_with_a_long_one(
    server: Server, page: Page, look_at
) -> None:
    start_chat(page, "A chat")
    page.goto("/settings/")
    page.click("text=Add a prompt")
    page.fill("#persona-prompt", "Kept.")
    refused = {
        "": "Give the prompt a name.",
        "\u200b": "Give the prompt a name.",
        "n" * 10_000: "The name can have at most 80 characters.",
    }
    for name, sentence in refused.items():
        page.fill("#persona-name", name)
        page.click("#prompts .button-primary")
        said(page, sentence, "#prompts .said")
        assert page.input_value("#persona-name") == name
        assert page.input_value("#persona-prompt") == "Kept."
    look_at(page, "prompt-name")
    page.fill("#persona-name", "Right \u202e one")
    page.click("#prompts .button-primary")
    page.wait_for_selector(".settings-list a")
    page.click(".settings-list a")
    page.fill("#persona-name", "")
    page.click(".settings-form .button-primary")
    said(page, "Give the prompt a name.", ".said")
    page.fill("#persona-name", "Another")
    page.click(".settings-form .button-primary")
    page.wait_for_selector(".settings-list a:has-text('Another')")
    # The panel of a chat keeps a prompt as well.
    page.goto("/")
    page.click(row("A chat"))
    page.click("[aria-label='Chat settings']")
    page.fill("#chat-persona", "Poet")
    page.locator("#chat-persona").blur()
    said(page, "Write the prompt first.", "#chat-panel .said")
    page.fill("#chat-prompt", "Rhyme.")
    page.locator("#chat-prompt").blur()
    said(page, "Saved.", "#chat-panel .said")
    page.fill("#chat-persona", "n" * 81)
    page.locator("#chat-persona").blur()
    said(page, "The name can have at most 80 characters.", "#chat-panel .said")
    assert page.input_value("#chat-persona") == "n" * 81
    look_at(page, "panel-name")


@pytest.mark.parametrize("more_env", [KEYS, KEYS | {"OWN_BASE_URLS": "*"}])
def test_addresses_that_no_key_may_be_for(
    server: Server, page: Page, more_env: dict[str, str], look_at
) -> None:
    start_chat(page, "A chat")
    page.goto("/settings/")
    page.click("text=Add a key")
    page.fill("#key-secret", "sk-canary-0123456789")
    is_any = more_env["OWN_BASE_URLS"] == "*"
    refused = {
        "javascript:alert(1)": "An address looks like https://host/path",
        "file:///etc/passwd": "An address looks like https://host/path",
        "https://user:word@example.com/": "An address looks like https://host/path",
        "http://10.0.0.1/v1": "must begin with https" if is_any else "does not allow keys for",
        "https://169.254.169.254/v1": "This site does not allow keys for this address.",
        "https://[::1]/v1": "This site does not allow keys for this address.",
        f"https://example.com/{'x' * 600}": "An address can have at most 500 characters.",
    }
    for address, sentence in refused.items():
        page.fill("#key-address", address)
        page.click("#keys form.settings-form .button-primary")
        said(page, sentence, "#keys form.settings-form .said")
        assert page.input_value("#key-address") == address
        assert page.input_value("#key-secret") == "sk-canary-0123456789"
        page.evaluate("document.querySelector('#keys form.settings-form .said').textContent = ''")
    page.click("#keys form.settings-form .button-primary")
    said(page, "An address can have at most 500 characters.", "#keys form.settings-form .said")
    look_at(page, "key-address")
    assert count(server, "conversations_providerkey") == 0


@pytest.mark.parametrize("more_env", [KEYS])
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_its_provider_refuses_and_a_better_one(
    server: Server, page: Page, provider_port: int, tmp_path: Path, status: int, look_at
) -> None:
    def add_key(port: int) -> None:
        page.goto("/settings/")
        page.click("text=Add a key")
        page.fill("#key-secret", "sk-canary-0123456789")
        page.fill("#key-address", f"http://127.0.0.1:{port}/v1")
        page.click("#keys form.settings-form .button-primary")
        said(page, "The connection works.", "#keys .said")

    (tmp_path / "refusing").mkdir()
    with process({"default": Script(status=status)}, tmp_path / "refusing") as port:
        start_chat(page, "A chat")
        add_key(port)
        page.goto("/")
        page.select_option("select[name=model]", "own-openai:default")
        ask(page, "With my key")
        page.wait_for_selector(".state:has-text('The provider refused your key. Check it')")
        path = page.evaluate("location.pathname")
        look_at(page, f"key-{status}")
        page.click(".state-error ~ form button:has-text('Retry')")
        page.wait_for_selector(".variants:has-text('2/2')")
        page.wait_for_selector(".state:has-text('The provider refused your key. Check it')")
    add_key(provider_port)
    page.goto(path)
    page.click(".state-error ~ form button:has-text('Retry')")
    page.wait_for_selector('.message-assistant [data-status="done"]')


# --- What happens elsewhere


def test_an_answer_is_deleted_from_another_tab_while_it_runs_and_comes_back(
    server: Server, context: BrowserContext, page: Page, look_at
) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    ask(page, "Delete me\n" + "word " * 400)
    seen = wait_for_text(page, 40)
    page.fill(COMPOSER, "typed meanwhile")
    other = context.new_page()
    other.goto("/")
    choose(other, "Delete me", "Delete")
    other.wait_for_selector("#toast >> text=Undo")
    said(page, GONE)
    assert page.input_value(COMPOSER) == "typed meanwhile"
    assert not page.locator(".stop-form").is_visible()
    look_at(page, "deleted-elsewhere")
    other.click("#toast >> text=Undo")
    page.wait_for_selector("text=Stopped.")
    assert page.locator(SAID).inner_text() == ""
    assert page.input_value(COMPOSER) == "typed meanwhile"
    assert page.locator(".stream-body").inner_text().startswith(seen.strip()[:40])


def test_nothing_can_be_done_in_a_chat_that_is_gone_and_all_of_it_says_so(
    server: Server, page: Page, look_at
) -> None:
    start_chat(page, "A chat")
    page.press(COMPOSER, "ArrowUp")
    page.fill(".edit-form textarea", "Other words")
    choose(page, "A chat", "Rename")
    page.fill(TITLE, "Another title")
    forget_conversations(server)
    page.press(TITLE, "Enter")
    said(page, GONE, ".rename-form .field-error")
    assert page.input_value(TITLE) == "Another title"
    page.press(".edit-form textarea", "Enter")
    said(page, GONE, ".edit-form .field-error")
    assert page.input_value(".edit-form textarea") == "Other words"
    page.fill(COMPOSER, "More words")
    page.press(COMPOSER, "Enter")
    said(page, GONE)
    assert page.input_value(COMPOSER) == "More words"
    look_at(page, "gone")
    for button in ("Retry", "Good answer"):
        page.evaluate(f"document.querySelector('{SAID}').textContent = ''")
        page.hover(".message-assistant")
        page.locator(f".message-assistant [aria-label='{button}']").click()
        said(page, GONE)
    assert page.input_value(COMPOSER) == "More words"
    page.evaluate(f"document.querySelector('{SAID}').textContent = ''")
    page.click("[aria-label='Chat settings']")
    said(page, GONE)


def test_stop_and_a_panel_of_a_chat_that_is_gone(server: Server, page: Page, look_at) -> None:
    page.goto("/")
    page.select_option("select[name=model]", label="Echo")
    ask(page, "Delete me\n" + "word " * 400)
    wait_for_text(page, 20)
    page.click("[aria-label='Chat settings']")
    page.wait_for_selector("#chat-panel:popover-open")
    forget_conversations(server)
    # At once: the page is about to find out.
    page.dispatch_event(".stop-form button", "click")
    said(page, GONE)
    page.fill("#chat-temperature", "1")
    page.locator("#chat-temperature").blur()
    said(page, GONE, "#chat-panel .said")
    assert page.evaluate(IN_PANEL)
    look_at(page, "gone-settings")


def test_who_was_signed_out_elsewhere_is_told_and_finds_the_text_again(
    server: Server, context: BrowserContext, page: Page, look_at
) -> None:
    start_chat(page, "A chat")
    chat = page.evaluate("location.pathname")
    sign_up(page)
    page.goto(chat)
    page.fill(COMPOSER, "typed before")
    start, settings = context.new_page(), context.new_page()
    start.goto("/")
    settings.goto("/settings/")
    sign_out(context)
    page.press(COMPOSER, "Enter")
    start.fill(COMPOSER, "a new one")
    start.press(COMPOSER, "Enter")
    for tab, text in ((page, "typed before"), (start, "a new one")):
        said(tab, SIGNED_OUT)
        assert tab.input_value(COMPOSER) == text
    look_at(page, "signed-out")
    said(page, SIGNED_OUT, "#streaming-connection")
    settings.fill("#answers-prompt", "Be brief.")
    settings.locator("#answers-prompt").blur()
    said(settings, SIGNED_OUT, "#answers .said")
    assert settings.input_value("#answers-prompt") == "Be brief."
    look_at(settings, "signed-out-settings")
    settings.click("text=Add a prompt")
    settings.fill("#persona-name", "Kept")
    settings.click("#prompts .button-primary")
    said(settings, SIGNED_OUT, "#prompts .said")
    assert count(server, "conversations_message") == 2
    assert count(server, "accounts_user") == 1
    # As the sentence says; a page that is loaded anew has the text as well.
    tab = context.new_page()
    tab.goto("/accounts/sign-in/")
    tab.fill("[name=username]", "person@example.com")
    tab.fill("[name=password]", "a long pass phrase of 1")
    tab.click("main form button")
    tab.wait_for_selector(".sidebar-foot")
    said(settings, SIGNED_OUT, "#prompts .said")
    settings.fill("#persona-prompt", "Kept.")
    settings.click("#prompts .button-primary")
    settings.wait_for_selector(".settings-list a:has-text('Kept')")
    start.reload()
    for tab, text in ((page, "typed before"), (start, "a new one")):
        tab.wait_for_function(f"() => document.querySelector('{COMPOSER}').value === {text!r}")
        tab.press(COMPOSER, "Enter")
        tab.wait_for_selector(f".bubble:text-is({text!r})")


# --- A server that is away


def test_what_is_sent_while_offline_is_kept_and_sent_afterwards(
    server: Server, context: BrowserContext, page: Page, look_at
) -> None:
    start_chat(page, "A chat")
    page.wait_for_selector(".stop-form", state="detached")
    page.fill(COMPOSER, "Through the tunnel")
    context.set_offline(True)
    page.click("#composer .send-button")
    said(page, "The server cannot be reached. Your text is kept")
    assert page.input_value(COMPOSER) == "Through the tunnel"
    page.fill("#search", "tunnel")
    said(page, "The server cannot be reached.", ".search-said")
    look_at(page, "offline")
    page.fill("#search", "")
    page.evaluate(f"document.querySelector('{SAID}').textContent = ''")
    page.click(".new-chat")
    said(page, "The server cannot be reached.")
    context.set_offline(False)
    page.click("#composer .send-button")
    page.wait_for_selector(".bubble:text-is('Through the tunnel')")
    page.wait_for_function(f"() => document.querySelector('{COMPOSER}').value === ''")
    assert page.locator(SAID).inner_text() == ""
    assert count(server, "conversations_message") == 4


def test_settings_while_the_server_is_away(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    page.goto("/settings/")
    server.stop()
    page.fill("#answers-prompt", "Be brief.")
    page.locator("#answers-prompt").blur()
    said(page, "The server cannot be reached.", "#answers .said")
    look_at(page, "settings-away")
    page.click(".new-chat")
    said(page, "The server cannot be reached.", "#toast span")
    assert page.evaluate("getComputedStyle(document.querySelector('#toast')).opacity") != "0"
    look_at(page, "settings-away-link")
    server.start()
    page.click("#answers .save-button")
    said(page, "Saved.", "#answers .said")


def test_a_form_s_address_shows_a_page(server: Server, page: Page, look_at) -> None:
    start_chat(page, "A chat")
    page.goto("/settings/prompts/")
    page.wait_for_selector("h1:has-text('There is no page at this address.')")
    look_at(page, "form-address")

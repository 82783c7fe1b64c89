"""Settings by hand: with a script as they change, without one by their buttons."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.services import Server


@pytest.fixture
def more_env() -> dict[str, str]:
    return {
        "OWN_KEYS": "openai",
        "OWN_BASE_URLS": "127.0.0.1",
        "FIELD_ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
    }


@pytest.fixture
def signed_in(page: Page) -> Page:
    page.goto("/")
    page.get_by_role("button", name="Sign in anonymously").click()
    page.locator(".sidebar-foot").wait_for()
    return page


def said(page: Page, section: str = "#answers") -> str:
    return page.locator(f"{section} .said").inner_text()


def saved(page: Page, section: str) -> None:
    page.locator(f"{section} .said", has_text="Saved.").wait_for()


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def start_chat(page: Page, text: str = "Hello") -> None:
    page.locator("#composer-text").fill(text)
    page.keyboard.press("Enter")
    page.locator(".message-assistant").wait_for()


def test_settings_are_saved_as_they_change(signed_in: Page, shot: Callable[..., None]) -> None:
    page = signed_in
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("9")
    page.get_by_label("Maximum answer length").focus()
    page.locator("#answers .said", has_text="from 0 to 2").wait_for()
    assert page.get_by_label("Temperature").input_value() == "9"
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Maximum answer length").focus()
    saved(page, "#answers")
    shot(page, "settings-light")

    light = background(page)
    page.get_by_label("Theme").select_option("dark")
    page.locator('html[data-theme="dark"]').wait_for()
    assert background(page) != light
    assert page.get_by_label("System prompt").input_value() == "Be brief."
    assert page.get_by_label("Temperature").input_value() == "0.5"
    shot(page, "settings-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "settings-390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    page.get_by_label("Language", exact=True).select_option("ko")
    page.locator('html[lang="ko"]').wait_for()


def test_a_chat_begins_with_a_saved_prompt(signed_in: Page, shot: Callable[..., None]) -> None:
    page = signed_in
    page.goto("/settings/")
    page.get_by_text("Add a prompt").click()
    page.get_by_label("Name").fill("Pirate")
    page.get_by_label("Prompt", exact=True).fill("Arr.")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("link", name="Pirate").wait_for()
    page.goto("/")
    page.get_by_label("Saved prompt").select_option(label="Pirate")
    shot(page, "start-with-prompts")
    start_chat(page)
    page.get_by_role("link", name="Chat settings").click()
    panel = page.locator("#chat-panel")
    assert panel.get_by_label("System prompt").input_value() == "Arr."
    shot(page, "chat-panel")


def test_the_panel_of_a_chat_changes_its_model_in_all_tabs(
    signed_in: Page, shot: Callable[..., None]
) -> None:
    page = signed_in
    start_chat(page)
    other = page.context.new_page()
    other.goto(page.url)
    page.get_by_role("link", name="Chat settings").click()
    panel = page.locator("#chat-panel")
    panel.get_by_label("Model").select_option("echo:echo")
    panel.locator(".said", has_text="Saved.").wait_for()
    for tab in (page, other):
        tab.locator('.chat-head option[value="echo:echo"]:checked').wait_for(state="attached")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "chat-panel-390")
    page.keyboard.press("Escape")
    panel.wait_for(state="hidden")


def test_an_answer_of_ones_own_key(
    signed_in: Page, provider_port: int, shot: Callable[..., None]
) -> None:
    page = signed_in
    page.goto("/settings/")
    page.get_by_text("Add a key").click()
    page.get_by_label("Key", exact=True).fill("sk-canary-0123456789wxyz")
    page.get_by_label("Address").fill(f"http://127.0.0.1:{provider_port}/v1")
    page.locator("#keys").get_by_role("button", name="Add").click()
    page.locator("#keys .said", has_text="The connection works.").wait_for()
    assert said(page, "#keys .key") == "1 model"
    assert "canary" not in page.content()
    page.get_by_role("button", name="Test connection").click()
    page.locator("#keys .key .said", has_text="works. 1 model available.").wait_for()
    page.locator("#keys").scroll_into_view_if_needed()
    shot(page, "settings-keys")
    page.goto("/")
    page.get_by_label("Model").select_option("own-openai:default")
    start_chat(page)
    page.locator('.message-assistant [data-status="done"]').wait_for()
    page.goto("/settings/")
    page.locator("#keys").get_by_role("button", name="Delete").click()
    page.locator("#keys .key").wait_for(state="detached")
    page.goto("/")
    assert page.locator('option[value="own-openai:default"]').count() == 0


@pytest.mark.parametrize("has_script", [True, False])
def test_keys_are_tested_so_often_and_no_more(
    browser: Browser,
    server: Server,
    provider_port: int,
    has_script: bool,
    shot: Callable[..., None],
) -> None:
    context = browser.new_context(java_script_enabled=has_script, base_url=server.url)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="Sign in anonymously").click()
    page.goto("/settings/")
    page.get_by_text("Add a key").click()
    page.get_by_label("Key", exact=True).fill("sk-canary-0123456789wxyz")
    page.get_by_label("Address").fill(f"http://127.0.0.1:{provider_port}/v1")
    page.locator("#keys").get_by_role("button", name="Add").click()
    page.locator("#keys .said", has_text="The connection works.").wait_for()
    # Adding it was the first.
    for _ in range(10):
        with page.expect_response(lambda response: "/test/" in response.url):
            page.get_by_role("button", name="Test connection").click()
    page.locator("#keys .said", has_text="Too many key tests in a short time.").wait_for()
    shot(page, f"own-key-often-{has_script}")
    context.close()


def test_everything_works_without_a_script(browser: Browser, server: Server) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=server.url)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="Sign in anonymously").click()
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("9")
    page.locator("#answers").get_by_role("button", name="Save").click()
    assert "from 0 to 2" in said(page)
    assert page.get_by_label("System prompt").input_value() == "Be brief."
    page.get_by_label("Temperature").fill("1")
    page.locator("#answers").get_by_role("button", name="Save").click()
    assert said(page) == "Saved."
    page.get_by_label("Theme").select_option("dark")
    page.locator("#appearance").get_by_role("button", name="Save").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"

    page.goto("/")
    page.locator("#composer-text").fill("Hello")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Chat settings").click()
    page.get_by_label("System prompt").fill("Rhyme.")
    page.get_by_label("Save this prompt for other chats").fill("Poet")
    page.get_by_role("button", name="Save").click()
    page.goto("/settings/")
    page.get_by_role("link", name="Poet").click()
    page.get_by_role("button", name="Delete this prompt").click()
    assert page.get_by_role("link", name="Poet").count() == 0
    context.close()

"""Every page of the site and the states that matter: one table for what looks at all of them.

Accessibility is tested and pictures are taken of the same list: a new page is one more line.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversations.lab.commands import Server, manage, site_env
from conversations.lab.process import destroying

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

SEED = "from scripts import seeding; seeding.main()"
THEMES = ("light", "dark")


@dataclass(frozen=True)
class State:
    """A page, and what is done there before it is looked at."""

    name: str
    # A path, or the name of one that seeding told, perhaps with more behind a colon.
    at: str
    # What is there once the page stands.
    shows: str
    # Whose session it is; empty: nobody is signed in.
    who: str = "owner"
    act: Callable[[Page], None] | None = None


def drawer(page: Page) -> None:
    """Open the list of chats where it is a drawer; elsewhere it is there."""
    if page.locator(".drawer-open").is_visible():
        page.click(".drawer-open")
    page.wait_for_selector(".chat-link >> nth=0", state="visible")


def menu(page: Page) -> None:
    drawer(page)
    page.locator(".row-more").nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-menu:popover-open .menu-item >> nth=0")


def rename(page: Page) -> None:
    menu(page)
    page.click("#chat-menu .menu-item >> nth=0")
    page.wait_for_selector(".rename-form input >> visible=true")


def search(page: Page) -> None:
    drawer(page)
    page.fill("#search", "answer")
    page.wait_for_selector("#sidebar-list .result-link >> nth=0")


def more(page: Page) -> None:
    page.locator(".message-assistant [popovertarget]").last.click()
    page.wait_for_selector(".more:popover-open")


def unfold(page: Page) -> None:
    page.click(".reasoning summary")
    page.wait_for_selector(".thought >> nth=0")


def shortcuts(page: Page) -> None:
    page.keyboard.press("Control+/")
    page.wait_for_selector("#shortcuts[open]")


def refused(page: Page) -> None:
    page.fill("input[name=email]", "ada@example.com")
    for field in page.locator("input[type=password]").all():
        field.fill("short")
    page.click("main form .button-primary")
    page.wait_for_selector(".field-error >> nth=0")


def wrong_password(page: Page) -> None:
    page.fill("input[type=password]", "wrong")
    page.click("main .button-danger")
    page.wait_for_selector(".field-error >> nth=0")


def out_of_date(page: Page) -> None:
    page.context.clear_cookies()
    page.fill("input[type=email], input[name=username]", "ada@example.com")
    page.fill("input[type=password]", "correct horse battery staple")
    page.click("main form .button-primary")
    page.wait_for_selector("text=That page was out of date.")


def too_long(page: Page) -> None:
    page.fill(".composer textarea", "A very long message. " * 1600)
    page.click(".composer .send-button")
    page.wait_for_selector("#composer-error:not(:empty)")


def offline(page: Page) -> None:
    page.context.set_offline(True)
    page.fill(".composer textarea", "Through the tunnel")
    page.click(".composer .send-button")
    page.wait_for_selector("#composer-error:not(:empty)")


CHAT = ".message-assistant .stream-body"
STATES = (
    State("first-visit", "/", ".start .examples", ""),
    State("start", "/", ".start .composer"),
    State("chat", "chat", f"{CHAT} table"),
    State("running", "running", ".stop-form"),
    State("thinking", "thinking", ".reasoning-now"),
    State("reasoned", "reasoned", ".reasoning", act=unfold),
    State("queued", "queued", ".queued"),
    State("failed", "failed", "text=Retry"),
    State("stopped", "stopped", "text=Stopped."),
    State("edit", "edit", ".edit-form textarea"),
    State("more", "chat", CHAT, act=more),
    State("too-long", "chat", CHAT, act=too_long),
    State("offline", "running", CHAT, act=offline),
    State("drawer", "chat", CHAT, act=drawer),
    State("menu", "chat", CHAT, act=menu),
    State("rename", "chat", CHAT, act=rename),
    State("shortcuts", "chat", CHAT, act=shortcuts),
    State("search", "chat", CHAT, act=search),
    State("search-page", "/search/?q=answer", ".search-page .result-link"),
    State("deleted", "deleted", "#toast:has-text('was deleted')"),
    State("marks", "marked", CHAT, "sorter", act=drawer),
    State("archive", "/?archived=1#sidebar", ".sidebar-back", "sorter"),
    State("options", "chat:options/", ".options-page"),
    State("settings", "/settings/", ".settings-page"),
    State("keys", "/settings/#keys", "#keys .key", "sorter"),
    State("delete-all", "/c/delete/", "main .button-danger"),
    State("account-delete", "/accounts/delete/", "main form"),
    State("account-delete-refused", "/accounts/delete/", "main form", act=wrong_password),
    State("account-delete-guest", "/accounts/delete/", "main .button-danger", "guest"),
    State("account-deleted", "/accounts/deleted/", "text=Your data is gone.", ""),
    State("persona", "persona", "main form"),
    State("chat-settings", "chat:settings/", "main form"),
    State("sign-in", "/accounts/sign-in/", "main form", ""),
    State("sign-up-refused", "/accounts/sign-up/", "main form", "guest", act=refused),
    State("sign-up", "/accounts/sign-up/", "main form", "guest"),
    State("sign-up-visitor", "/accounts/sign-up/", ".looks", ""),
    State("sign-out", "/accounts/sign-out/", "text=Sign out anyway", "guest"),
    State("bring-along", "/accounts/bring-chats-along/", "text=Don't move", "offered"),
    State("password", "/accounts/password/", "main form"),
    State("password-done", "/accounts/password/done/", "text=Password changed"),
    State("reset", "/accounts/password/reset/", "main form", ""),
    State("reset-sent", "/accounts/password/reset/sent/", "text=Check your email", ""),
    State("reset-link", "reset", "main form", ""),
    State("reset-used", "/accounts/password/reset/x/y/", "text=Request a new link", ""),
    State("not-found", "/nothing/", "text=There is nothing here.", ""),
    State(
        "not-allowed", "/admin/streaming/stream/", "text=You are not allowed to do this.", "clerk"
    ),
    State("out-of-date", "/accounts/sign-in/", "main form", "", act=out_of_date),
)


@dataclass(frozen=True)
class SeededSite:
    """A site that serves what `seeding` made; nothing generates there."""

    url: str
    # What seeding told: paths by name, and session keys.
    told: dict[str, Any]

    def url_of(self, state: State) -> str:
        if state.at.startswith("/"):
            return self.url + state.at
        name, _, rest = state.at.partition(":")
        return f"{self.url}{self.told[name]}{rest}"


@contextmanager
def seeded_site() -> Iterator[SeededSite]:
    """Start a site of its own in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="chatsite-states-") as name:
        folder = Path(name)
        env = site_env(f"sqlite://{folder / 'db.sqlite3'}", folder / "static") | {
            "STREAMING_RUNNER": "off",
            # What was deleted stays, for an undo.
            "UNDO_SECONDS": "86400",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "OPENAI_MODELS": "qwen3:8b,qwen3:32b",
            "OWN_KEYS": "openai,anthropic",
            "FIELD_ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
            "LOG_LEVEL": "WARNING",
        }
        manage(env, "migrate", "--verbosity=0")
        manage(env, "collectstatic", "--noinput", "--verbosity=0")
        told = json.loads(manage(env, "shell", "--no-imports", "-c", SEED))
        server = Server(folder, env)
        with destroying(server):
            server.start()
            yield SeededSite(server.url, told)


@contextmanager
def shown(
    browser: Browser, site: SeededSite, state: State, *, theme: str = "light", **options: Any
) -> Iterator[Page]:
    """The page in its state, in a browser context of its own with these `options`."""
    usual = {"reduced_motion": "reduce", "locale": "en-GB", "timezone_id": "UTC"}
    context: BrowserContext = browser.new_context(
        color_scheme=theme,  # type: ignore[arg-type]
        **(usual | options),
    )
    context.set_default_timeout(20_000)
    try:
        if state.who:
            key = site.told["sessions"][state.who]
            context.add_cookies([{"name": "sessionid", "value": key, "url": site.url}])
        page = context.new_page()
        page.goto(site.url_of(state))
        page.wait_for_selector(f"{state.shows} >> nth=0")
        if state.act:
            state.act(page)
        yield page
    finally:
        context.close()

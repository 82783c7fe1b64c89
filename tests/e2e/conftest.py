"""A real browser against the real server, with a scripted provider in a process of its own."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conversations.lab.provider import Script, process
from tests.services import Server, Servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ANSWER = """\
# Streams that last

Every *chunk* is **committed** before it is shown. See [the docs](https://example.org/docs).

```python
def answer(question: str) -> str:
    return f"You asked: {question}"
```

| part | does |
|---|---|
| journal | commits |
| hub | tells |

- one
- two
  - nested

The end of it.
"""
THOUGHT = "Streams, then.\n\nWhat of **them**? "
LINES = [f"Paragraph {n}. " + "Some words of it. " * (n * 7 % 23) + "\n\n" for n in range(60)]
SCRIPTS = {
    # About 8 s: time for a reload, a second tab, a kill.
    "slow": Script(text=ANSWER * 3, size=12, rate=9),
    # About 3 s: something is seen of it before its end.
    "brief": Script(text=ANSWER * 3, size=12, rate=25),
    # Far longer than a window is high, for half a minute.
    "long": Script(text="".join(LINES), size=24, rate=20),
    "quick": Script(text=ANSWER, size=12, rate=100),
    "cut": Script(text=ANSWER, size=12, rate=50, cut_after=12),
    # Its maximum makes several answers of it.
    "short": Script(text=ANSWER, size=12, rate=40, most=10),
    "limited": Script(status=429, retry_after="60"),
    "thinking": Script(
        text=ANSWER, size=12, rate=10, reasoning=THOUGHT, think_after=0, think_seconds=4
    ),
}
# What browser and htmx say of an answer that is an error, and of a server that a test took away.
NETWORK_WORDS = (
    "Failed to load resource",
    "Response Status Error Code",
    "WebSocket connection",
    "htmx:sendError",
    "htmx:afterRequest",
    "htmx:sendAbort",
    "htmx:wsError",
    "[object Event]",
)


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def provider_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with process(SCRIPTS, tmp_path_factory.mktemp("provider")) as port:
        yield port


@pytest.fixture
def more_env() -> dict[str, str]:
    """What a module's or a test's site has in its environment beside the usual."""
    return {}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(partial(tmp_path_factory.mktemp, "server"))
    yield servers
    servers.close()


@pytest.fixture
def server(provider_port: int, servers: Servers, more_env: dict[str, str]) -> Iterator[Server]:
    """A site that offers the scripted models and echo at the tutorial's pace."""
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{provider_port}",
        "OPENAI_MODELS": ",".join(SCRIPTS),
        "DEFAULT_MODEL": "openai:slow",
    }
    with servers.running(env | more_env) as site:
        yield site


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """One person's browser; a message on its console is an error."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, base_url=server.url)
    context.set_default_timeout(20_000)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type == "error" and not message.text.startswith(NETWORK_WORDS)
            else None
        ),
    )
    context.new_page = partial(in_a_window, context, context.new_page)
    yield context
    context.close()
    assert complaints == []


def in_a_window(context: BrowserContext, new_tab: Callable[[], Page]) -> Page:
    """A further page, in a window of its own: a tab behind another is drawn once a second."""
    if not context.pages:
        return new_tab()
    session = context.new_cdp_session(context.pages[0])
    person = session.send("Target.getTargetInfo")["targetInfo"]["browserContextId"]
    with context.expect_page() as page:
        session.send(
            "Target.createTarget",
            {"url": "about:blank", "newWindow": True, "browserContextId": person},
        )
    session.detach()
    return page.value


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`shot(page, "name")`: keep a screenshot where SCREENSHOTS says, to be looked at."""

    def take(page: Page, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take


def stored_text(server: Server) -> str:
    """The text of the newest stream, as its chunks hold it."""
    with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection:
        rows = connection.execute(
            "SELECT text FROM streaming_chunk WHERE stream_id = "
            "(SELECT id FROM streaming_stream ORDER BY created_at DESC LIMIT 1) ORDER BY start"
        ).fetchall()
    return "".join(row[0] for row in rows)


def count(server: Server, table: str) -> int:
    with closing(sqlite3.connect(server.folder / "db.sqlite3")) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

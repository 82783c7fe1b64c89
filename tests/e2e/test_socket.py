"""The page's module against a server that misbehaves: the test answers the socket itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .test_story import ENDED, ask

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

pytestmark = pytest.mark.e2e

STREAM = "11111111-1111-4111-8111-111111111111"


def test_a_server_that_fails_after_accepting_is_not_asked_in_a_storm(
    page: Page,
) -> None:
    connections: list[WebSocketRoute] = []

    def fail(socket: WebSocketRoute) -> None:
        connections.append(socket)
        # The page says hello once the socket is open.
        socket.on_message(lambda hello: socket.close(code=1011))

    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.route_web_socket("**/ws/streaming/", fail)
    page.reload()
    page.wait_for_timeout(4_000)
    # Each pause is up to twice as long as the one before: 0.25 s, 0.5 s, 1 s, 2 s, 4 s …
    assert 2 <= len(connections) <= 12


class Played:
    """A server that the test plays, and a stream of the page's that only this one knows."""

    def __init__(self, page: Page, open_html: str = "") -> None:
        self.follows: list[dict] = []
        self._page = page
        self._sockets: list[WebSocketRoute] = []
        self._generation = 0
        self._numbers = iter(range(1, 100))
        ask(page, model="quick")
        page.wait_for_selector(ENDED)
        page.route_web_socket("**/ws/streaming/", self._play)
        page.reload()
        page.evaluate(
            """([id, html]) => document.body.insertAdjacentHTML("beforeend", `
                <div id="stream-${id}" data-stream="${id}" data-cut="0" data-key="k"
                data-status="streaming"><div id="stream-${id}-body" class="stream-body"
                ><div id="stream-${id}-open">${html}</div></div></div>`)""",
            [STREAM, open_html],
        )
        self.wait(lambda: self.follows)

    def _play(self, socket: WebSocketRoute) -> None:
        def hear(text: str | bytes) -> None:
            message = json.loads(text)
            if message["type"] == "hello":
                # The newest socket is the page's.
                self._sockets[:] = [socket]
                self._generation = message["generation"]
            elif message["type"] == "follow":
                self.follows.append(message)

        socket.on_message(hear)

    def send(self, start: int, cut: int, html: str, how: str = "beforebegin", part="open") -> None:
        header = {"g": self._generation, "n": next(self._numbers), "t": "frame", "s": STREAM}
        header |= {"full": False, "from": start, "cut": cut, "end": cut, "key": "k"}
        fragment = f'<div hx-swap-oob="{how}:#stream-{STREAM}-{part}">{html}</div>'
        text = f"<!--{json.dumps(header, separators=(',', ':'))}-->{fragment}"
        self._sockets[-1].send(text)

    def wait_for(self, attribute: str) -> None:
        self._page.wait_for_selector(f"#stream-{STREAM}{attribute}", state="attached")

    def text(self) -> list[str]:
        return self._page.inner_text(f"#stream-{STREAM}-body").split()

    def wait(self, condition: Callable[[], object]) -> None:
        for _ in range(200):
            if condition():
                return
            self._page.wait_for_timeout(50)
        raise AssertionError("not within 10 seconds")


def test_a_page_out_of_step_asks_once_for_what_it_lacks(page: Page) -> None:
    server = Played(page)
    server.send(0, 3, "<p>one</p>")
    server.wait_for("[data-cut='3']")
    before = len(server.follows)
    for n in range(5):
        # One frame was lost; those behind it fit nowhere.
        server.send(6 + n, 7 + n, "<p>never</p>")
    server.wait(lambda: len(server.follows) > before)
    assert server.follows[-1]["cut"] == 3
    server.send(3, 11, "<p>two</p>")
    server.wait_for("[data-cut='11']")
    assert len(server.follows) == before + 1
    assert server.text() == ["one", "two"]
    # The next time it is out of step, it asks again.
    server.send(99, 100, "<p>never</p>")
    server.wait(lambda: len(server.follows) == before + 2)


def test_lines_of_code_that_were_on_their_way_when_a_selection_went_come_once(page: Page) -> None:
    server = Played(page, "<pre><code>one </code></pre>")
    server.send(0, 0, "two ", "beforeend", "open code")
    page.wait_for_selector("code:has-text('two')", state="attached")
    page.evaluate(
        """id => {
          window.shown = [];
          const body = document.getElementById(id);
          new MutationObserver(() => shown.push(body.textContent.trim()))
            .observe(body, { childList: true, subtree: true });
        }""",
        f"stream-{STREAM}-body",
    )
    page.focus(".scroller")
    page.evaluate(
        "id => getSelection().selectAllChildren(document.getElementById(id))",
        f"stream-{STREAM}-open",
    )
    server.send(0, 0, "three ", "beforeend", "open code")
    server.wait_for("[data-held]")
    before = len(server.follows)
    page.evaluate("getSelection().removeAllRanges()")
    server.wait(lambda: len(server.follows) > before)
    # All of them continue at the same cut: only the answer to the follow tells what stands there.
    server.send(0, 0, "four ", "beforeend", "open code")
    server.send(0, 0, "<pre><code>one two three four </code></pre>", "innerHTML")
    server.send(0, 0, "five ", "beforeend", "open code")
    page.wait_for_selector("code:has-text('five')", state="attached")
    assert page.evaluate("shown") == ["one two three four", "one two three four five"]
    assert len(server.follows) == before + 1
    assert page.locator(f"#stream-{STREAM}[data-held]").count() == 0

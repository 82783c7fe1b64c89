"""The page's module against a server that misbehaves: the test answers the socket itself."""

from __future__ import annotations

import json
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


def test_a_page_out_of_step_asks_once_for_what_it_lacks(page: Page) -> None:
    sockets: list[WebSocketRoute] = []
    follows: list[dict] = []
    numbers = iter(range(1, 100))

    def play(socket: WebSocketRoute) -> None:
        def hear(text: str | bytes) -> None:
            message = json.loads(text)
            if message["type"] == "hello":
                # The newest socket is the page's.
                sockets[:] = [socket]
                page.generation = message["generation"]  # type: ignore[attr-defined]
            elif message["type"] == "follow":
                follows.append(message)

        socket.on_message(hear)

    def send(start: int, cut: int, html: str) -> None:
        header = {"g": page.generation, "n": next(numbers), "t": "frame", "s": STREAM}  # type: ignore[attr-defined]
        header |= {"full": False, "from": start, "cut": cut, "end": cut, "key": "k"}
        fragment = f'<div hx-swap-oob="beforebegin:#stream-{STREAM}-open">{html}</div>'
        sockets[-1].send(f"<!--{json.dumps(header, separators=(',', ':'))}-->{fragment}")

    ask(page, model="quick")
    page.wait_for_selector(ENDED)
    page.route_web_socket("**/ws/streaming/", play)
    page.reload()
    page.evaluate(
        """id => document.body.insertAdjacentHTML("beforeend", `
            <div id="stream-${id}" data-stream="${id}" data-cut="0" data-key="k">
            <div id="stream-${id}-body" class="stream-body"
            ><div id="stream-${id}-open"></div></div></div>`)""",
        STREAM,
    )
    wait_for(page, lambda: follows)
    send(0, 3, "<p>one</p>")
    page.wait_for_selector(f"#stream-{STREAM}[data-cut='3']", state="attached")
    before = len(follows)
    for n in range(5):
        # One frame was lost; those behind it fit nowhere.
        send(6 + n, 7 + n, "<p>never</p>")
    wait_for(page, lambda: len(follows) > before)
    assert follows[-1]["cut"] == 3
    send(3, 11, "<p>two</p>")
    page.wait_for_selector(f"#stream-{STREAM}[data-cut='11']", state="attached")
    assert len(follows) == before + 1
    assert page.inner_text(f"#stream-{STREAM}-body").split() == ["one", "two"]
    # The next time it is out of step, it asks again.
    send(99, 100, "<p>never</p>")
    wait_for(page, lambda: len(follows) == before + 2)


def wait_for(page: Page, condition) -> None:
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("not within 10 seconds")

"""The benchmark's guests: each signs in, asks by the page's form and reads the page's socket.

    python -m conversations.bench.client --url http://127.0.0.1:8000 --streams 10 --tokens 300

It prints {"event": "ready"} when all sockets are open, waits for a line on standard input, starts
the chats, prints {"event": "ended"} at the last end and then {"event": "result", …}.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from .page import Shown, attribute, composer_of, parse_frame, plain_text, tags_with, topics_of
from .texts import MARK

SIGN_IN_PATH = "/accounts/sign-in/guest/"
ACK_BYTES = 32_768
ACK_SECONDS = 1.0
NOTICE_SECONDS = 0.15
# Starts are spread over so long at most, or 20 ms for each stream.
SPREAD_SECONDS = 2.0
# How much longer than its provider an answer may take before it counts as an error.
PATIENCE_SECONDS = 60.0


class Tab:
    """One page with its socket."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http, self.url = http, url
        self.topics: dict[str, tuple[int, str]] = {}
        self.shown: Shown | None = None
        self.on_text: Callable[[], None] | None = None
        self.frame_bytes = 0
        # Not set while a form is on its way: its answer may bring what topics announce.
        self.answered = asyncio.Event()
        self.answered.set()
        self.unacked = 0
        self.newest = 0
        self.ack_timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def open(self, path: str) -> str:
        """Load a page and open its socket; the page."""
        async with self.http.get(self.url + path) as response:
            response.raise_for_status()
            page = await response.text()
        (place,) = tags_with(page, "ws-connect")
        # The largest window, as browsers offer it.
        self.socket = await self.http.ws_connect(
            self.url + attribute(place, "ws-connect"), origin=self.url, compress=15, max_msg_size=0
        )
        await self.send(type="hello", generation=1)
        await self.watch(page)
        return page

    async def watch(self, page: str) -> None:
        """Watch the topics of a page or fragment, at the versions it shows."""
        for topic, (version, url) in topics_of(page).items():
            self.topics[topic] = (version, url)
            await self.send(type="watch", topic=topic, version=version)

    async def follow(self, page: str) -> None:
        """Follow the running answer that a page or fragment shows."""
        self.shown = Shown.in_page(page)
        await self.send(
            type="follow", stream=self.shown.stream, cut=self.shown.cut, key=self.shown.key
        )

    async def read(self) -> None:
        """Apply frames until the answer has ended. Raises ConnectionError."""
        assert self.shown
        while not self.shown.status:
            message = await self.socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(f"the socket was closed with {self.socket.close_code}")
            self.receive(message.data)

    def receive(self, message: str) -> None:
        header, fragments = parse_frame(message)
        self.frame_bytes += len(message)
        if header["n"] != self.newest + 1:
            raise ConnectionError(f"frame {header['n']} came after {self.newest}")
        self.newest = header["n"]
        self.acknowledge_soon(len(message))
        if header["t"] in ("frame", "end"):
            assert self.shown
            self.shown.apply(header, fragments)
            if self.shown.seen and self.on_text:
                self.on_text()
                self.on_text = None
            for topic, version in header.get("topics", {}).items():
                self.bring(topic, version)
        elif header["t"] == "topic":
            self.spawn(self.fetch_change(header["topic"], header["version"]))
        elif header["t"] == "gone":
            raise ConnectionError("the stream is gone")

    def bring(self, topic: str, version: int) -> None:
        """An end frame brings a version to the page that had the one before."""
        known, url = self.topics.get(topic, (0, ""))
        if known == version - 1:
            self.topics[topic] = (version, url)

    async def fetch_change(self, topic: str, version: int) -> None:
        """What the element's own hx-get does when its topic has changed, as the page's module
        waits for an answer or an end frame that may bring the version."""
        await asyncio.sleep(NOTICE_SECONDS)
        await self.answered.wait()
        known, url = self.topics[topic]
        if version <= known:
            return
        self.topics[topic] = (version, url)
        async with self.http.get(self.url + url, headers={"HX-Request": "true"}) as response:
            response.raise_for_status()
            await self.watch(await response.text())

    def acknowledge_soon(self, size: int) -> None:
        self.unacked += size
        if self.unacked >= ACK_BYTES:
            self.acknowledge()
        elif self.ack_timer is None:
            loop = asyncio.get_running_loop()
            self.ack_timer = loop.call_later(ACK_SECONDS, self.acknowledge)

    def acknowledge(self) -> None:
        if self.ack_timer is not None:
            self.ack_timer.cancel()
        self.ack_timer, self.unacked = None, 0
        if not self.socket.closed:
            self.spawn(self.send(type="ack", n=self.newest))

    def spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))

    async def close(self) -> None:
        if self.ack_timer is not None:
            self.ack_timer.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.socket.close()


class Guest:
    """A person with one or several tabs, who asks once."""

    def __init__(self, url: str, tabs: int, tokens: int) -> None:
        self.url, self.tokens = url, tokens
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Origin": url, "Referer": url + "/"},
        )
        self.tabs = [Tab(self.http, url) for _ in range(tabs)]
        self.first_token_ms: float | None = None
        self.page = ""

    async def arrive(self) -> None:
        """Sign in anonymously and open the start page with its socket."""
        async with self.http.get(self.url + "/") as response:
            response.raise_for_status()
            fields = composer_of(await response.text()).fields
        token = {"csrfmiddlewaretoken": fields["csrfmiddlewaretoken"]}
        async with self.http.post(self.url + SIGN_IN_PATH, data=token) as response:
            response.raise_for_status()
        self.page = await self.tabs[0].open("/")

    async def ask(self, content: str) -> None:
        """Send the first message and read the answer to its end, in all tabs."""
        form = composer_of(self.page)
        headers = {
            "HX-Request": "true",
            "HX-Target": "main",
            "HX-Current-URL": self.url + "/",
            "X-CSRFToken": form.fields["csrfmiddlewaretoken"],
        }
        first = self.tabs[0]
        sent = time.monotonic()
        first.on_text = lambda: self.first_text(sent)
        fields = form.fields | {"content": content}
        first.answered.clear()
        async with self.http.post(self.url + form.action, data=fields, headers=headers) as response:
            response.raise_for_status()
            path = response.headers["HX-Push-Url"]
            page = await response.text()
        await first.follow(page)
        if first.shown and first.shown.seen:
            first.on_text()
            first.on_text = None
        await first.watch(page)
        first.answered.set()
        others = [self.join(tab, path) for tab in self.tabs[1:]]
        await asyncio.gather(first.read(), *others)

    async def join(self, tab: Tab, path: str) -> None:
        """Open the chat in another tab and read on there."""
        await tab.follow(await tab.open(path))
        await tab.read()

    def first_text(self, sent: float) -> None:
        self.first_token_ms = (time.monotonic() - sent) * 1000

    async def leave(self) -> None:
        for tab in self.tabs:
            if hasattr(tab, "socket"):
                await tab.close()
        await self.http.close()

    def result(self) -> dict[str, Any]:
        """What this guest's tabs saw."""
        shown = [tab.shown for tab in self.tabs if tab.shown]
        counts = [count_marks(one.html(), self.tokens) for one in shown]
        return {
            "first_token_ms": self.first_token_ms,
            "latencies": [value for one in shown for value in one.latencies],
            "frame_bytes": sum(tab.frame_bytes for tab in self.tabs),
            "lost": sum(lost for lost, _, _ in counts)
            + self.tokens * (len(self.tabs) - len(shown)),
            "doubled": sum(doubled for _, doubled, _ in counts),
            "reordered": sum(reordered for _, _, reordered in counts),
            "errors": [error for one in shown for error in one.errors],
            "bodies": [(one.stream, plain_text(one.html())) for one in shown],
        }


def count_marks(body: str, tokens: int) -> tuple[int, int, int]:
    """How many marks of a whole answer are lost, doubled, and behind a later one."""
    numbers = [int(number) for number, _ in MARK.findall(body)]
    different = set(numbers)
    behind = sum(1 for one, next_one in itertools.pairwise(numbers) if next_one < one)
    return tokens - len(different), len(numbers) - len(different), behind


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Let all guests arrive, wait for the word, let them ask; what they saw."""
    guests = [Guest(options.url, options.tabs, options.tokens) for _ in range(options.streams)]
    for guest in guests:
        await guest.arrive()
    gc.collect()
    gc.freeze()
    tell("ready")
    await asyncio.to_thread(sys.stdin.readline)
    errors: list[str] = []
    spread = min(SPREAD_SECONDS, 0.02 * len(guests))
    limit = spread + options.tokens / options.rate + PATIENCE_SECONDS

    async def ask(number: int, guest: Guest) -> None:
        await asyncio.sleep(spread * number / len(guests))
        try:
            async with asyncio.timeout(limit):
                await guest.ask(f"Please answer with {options.tokens} tokens.")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            errors.append(f"{type(error).__name__}: {error}")

    await asyncio.gather(*(ask(number, guest) for number, guest in enumerate(guests)))
    tell("ended")
    results = [guest.result() for guest in guests]
    for guest in guests:
        await guest.leave()
    return {
        "guests": results,
        "errors": errors + [error for result in results for error in result.pop("errors")],
    }


def tell(event: str, **content: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **content}) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--tabs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rate", type=float, default=50)
    tell("result", **asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

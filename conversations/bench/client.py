"""The benchmark's guests: each signs in, asks by the page's form and reads the page's socket.

    python -m conversations.bench.client --url http://127.0.0.1:8000 --streams 10 --tokens 300

With several --url the guests, and the tabs of each, are spread over them. Followers are further
sockets, without a page, on the first guest's answer.

It prints {"event": "ready"} when all sockets are open, waits for a line on standard input and
starts the chats. {"event": "flowing"} says that everybody has text, {"event": "ended"} that
everybody has the end; both say how many frames came until then. {"event": "result", …} is last.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import aiohttp

from .page import Shown, composer_of, plain_text
from .tab import Follower, Socket, Tab
from .texts import MARK

SIGN_IN_PATH = "/accounts/sign-in/guest/"
# Starts are spread over so long at most, or 20 ms for each stream.
SPREAD_SECONDS = 2.0
# How much longer than its provider an answer may take before it counts as an error.
PATIENCE_SECONDS = 60.0
# Guests arrive, and followers connect, so many at a time.
ARRIVALS_AT_ONCE, CONNECTIONS_AT_ONCE = 8, 50


class Guest:
    """A person with one or several tabs and, it may be, followers, who asks once."""

    def __init__(self, urls: Sequence[str], tabs: int, followers: int, tokens: int) -> None:
        self.url, self.tokens = urls[0], tokens
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Origin": self.url, "Referer": self.url + "/"},
        )
        self.tabs = [Tab(self.http, url) for url in cycle(urls, tabs)]
        self.followers = [Follower(self.http, url) for url in cycle(urls, followers)]
        self.sent_at = 0.0
        self.page = ""

    @property
    def sockets(self) -> list[Socket]:
        return [*self.tabs, *self.followers]

    async def arrive(self) -> None:
        """Sign in anonymously, open the start page with its socket, and the followers' sockets."""
        async with self.http.get(self.url + "/") as response:
            response.raise_for_status()
            fields = composer_of(await response.text()).fields
        token = {"csrfmiddlewaretoken": fields["csrfmiddlewaretoken"]}
        async with self.http.post(self.url + SIGN_IN_PATH, data=token) as response:
            response.raise_for_status()
        self.page = await self.tabs[0].open("/")
        path = self.tabs[0].socket_path
        await at_once(CONNECTIONS_AT_ONCE, [one.connect(path) for one in self.followers])

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
        self.sent_at = time.monotonic()
        fields = form.fields | {"content": content}
        first.answered.clear()
        async with self.http.post(self.url + form.action, data=fields, headers=headers) as response:
            response.raise_for_status()
            path = response.headers["HX-Push-Url"]
            page = await response.text()
        await first.follow(Shown.in_page(page))
        await first.watch(page)
        first.answered.set()
        others = [self.join(tab, path) for tab in self.tabs[1:]]
        followers = [self.join_without_page(one, page) for one in self.followers]
        await asyncio.gather(first.read(), *others, *followers)

    async def join(self, tab: Tab, path: str) -> None:
        """Open the chat in another tab and read on there."""
        await tab.follow(Shown.in_page(await tab.open(path)))
        await tab.read()

    async def join_without_page(self, follower: Follower, page: str) -> None:
        """Read on from what the answer to the form showed."""
        await follower.follow(Shown.in_page(page))
        await follower.read()

    async def leave(self) -> None:
        await asyncio.gather(*(one.close() for one in self.sockets))
        await self.http.close()

    def result(self) -> dict[str, Any]:
        """What this guest's tabs and followers saw."""
        errors = []
        for follower in self.followers:
            try:
                follower.replay()
            except ConnectionError as error:
                errors.append(str(error))
        shown = [one.shown for one in self.sockets if one.shown]
        counts = [count_marks(one.html(), self.tokens) for one in shown]
        # A thousand followers hardly differ: each text once for each stream.
        bodies = {(one.stream, plain_text(one.html())) for one in shown}
        first_text_at = self.tabs[0].first_text_at
        return {
            "first_token_ms": (first_text_at - self.sent_at) * 1000 if first_text_at else None,
            "latencies": [value for one in shown for value in one.latencies],
            "frame_bytes": sum(one.frame_bytes for one in self.sockets),
            "lost": sum(lost for lost, _, _ in counts)
            + self.tokens * (len(self.sockets) - len(shown)),
            "doubled": sum(doubled for _, doubled, _ in counts),
            "reordered": sum(reordered for _, _, reordered in counts),
            "errors": errors + [error for one in shown for error in one.errors],
            "bodies": sorted(bodies),
        }


async def at_once(most: int, coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all, at most so many at a time."""
    places = asyncio.Semaphore(most)

    async def in_place(coroutine: Coroutine[Any, Any, None]) -> None:
        async with places:
            await coroutine

    await asyncio.gather(*map(in_place, coroutines))


def cycle(urls: Sequence[str], count: int) -> list[str]:
    """`count` of the addresses, in turn."""
    return [urls[number % len(urls)] for number in range(count)]


def count_marks(body: str, tokens: int) -> tuple[int, int, int]:
    """How many marks of a whole answer are lost, doubled, and behind a later one."""
    numbers = [int(number) for number, _ in MARK.findall(body)]
    different = set(numbers)
    behind = sum(1 for one, next_one in itertools.pairwise(numbers) if next_one < one)
    return tokens - len(different), len(numbers) - len(different), behind


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Let all guests arrive, wait for the word, let them ask; what they saw."""
    guests = [
        Guest(
            options.url[number % len(options.url) :] + options.url[: number % len(options.url)],
            options.tabs,
            0 if number else options.followers,
            options.tokens,
        )
        for number in range(options.streams)
    ]
    await at_once(ARRIVALS_AT_ONCE, [guest.arrive() for guest in guests])
    sockets = [one for guest in guests for one in guest.sockets]
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
        finally:
            for one in guest.sockets:
                one.flowing.set()

    async def tell_when_flowing() -> None:
        await asyncio.gather(*(one.flowing.wait() for one in sockets))
        tell("flowing", frames=sum(one.frames for one in sockets))

    flowing = asyncio.create_task(tell_when_flowing())
    await asyncio.gather(*(ask(number, guest) for number, guest in enumerate(guests)))
    await flowing
    tell("ended", frames=sum(one.frames for one in sockets))
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
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--tabs", type=int, default=1)
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rate", type=float, default=50)
    tell("result", **asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

"""What the pages cost in a real browser: bytes, paint, and script and frames while text comes.

Chromium is driven by Playwright, both of which only who develops this site needs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import many
from .chromium import chromium
from .page import parse_frame
from .site import Setup, Site, provider

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

RUNS = 5
ROUNDS = 3
THROTTLING = 4
# A running answer: about six seconds.
TOKENS, RATE = 300, 50.0
IDLE_MS = 5_000
WAIT_MS = 60_000
LIMITS = {"kB": 60.0, "origins": 0.0, "paint": 1_000.0, "script": 4.0, "frames": 25.0}
QUERIES = 12

OBSERVE_PAINT = """
window.largestPaint = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.largestPaint = entry.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
"""
# What a browser with a window would fetch as well.
FETCH_ICONS = """
Promise.all([...document.querySelectorAll("link[rel=icon], link[rel=manifest]")]
  .map(({ href }) => fetch(href).then(answer => answer.blob())))
  .then(all => all.length)
"""
RECORD_FRAMES = """
() => {
  window.frames_ = [];
  let before = performance.now();
  const next = (now) => {
    window.frames_.push(now - before);
    before = now;
    window.recording = requestAnimationFrame(next);
  };
  window.recording = requestAnimationFrame((now) => { before = now; next(now); });
}
"""
STOP_RECORDING = "() => { cancelAnimationFrame(window.recording); return window.frames_; }"


@dataclass(frozen=True)
class Figure:
    """One number that was measured, and the most that it may be."""

    name: str
    value: float
    limit: float
    unit: str
    how: str

    @property
    def is_met(self) -> bool:
        return self.value <= self.limit


def measure_pages(*, say: Callable[[str], None]) -> list[Figure]:
    """Start a site and a browser, and measure everything. Raises Missing."""
    with (
        chromium() as browser,
        tempfile.TemporaryDirectory(prefix="pagebench-") as folder,
        provider(shape="mixed", tokens=TOKENS, rate=RATE) as port,
        Site(Setup(), Path(folder), port, {}).prepared() as site,
    ):
        say("filling the site")
        told = many.run(site.env | {"DATABASE_URL": f"sqlite://{site.template}"})
        with site.serving() as running:
            visit = Visit(browser, running.urls[0], told, say)
            return [*visit.first_page(), *visit.paints(), *visit.running(), *queries(told)]


class Visit:
    """A browser at the measured site."""

    def __init__(
        self, browser: Browser, url: str, told: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self.browser, self.url, self.told, self.say = browser, url, told, say

    @contextmanager
    def page(self, *, signed_in: bool = False) -> Iterator[tuple[Page, CDPSession]]:
        """A page in a context of its own, without a cache from before."""
        context = self.browser.new_context(viewport={"width": 1200, "height": 800})
        context.set_default_timeout(WAIT_MS)
        if signed_in:
            cookie = {"name": "sessionid", "value": self.told["session"], "url": self.url}
            context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        yield page, context.new_cdp_session(page)
        context.close()

    def load(self, path: str, *, signed_in: bool) -> tuple[float, list[str]]:
        """Load a page with an empty cache: bytes that were received, and what was asked for."""
        sizes: list[float] = []
        asked: list[str] = []
        with self.page(signed_in=signed_in) as (page, session):
            session.send("Network.enable")
            session.on(
                "Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"])
            )
            page.on("request", lambda request: asked.append(request.url))
            page.goto(self.url + path, wait_until="networkidle")
            page.evaluate(FETCH_ICONS)
        return sum(sizes), asked

    def first_page(self) -> Iterator[Figure]:
        """What a newcomer's browser is sent, and by whom."""
        self.say("the first page")
        received, asked = self.load("/", signed_in=False)
        asked += self.load(self.told["chat"], signed_in=True)[1]
        origin = urlsplit(self.url).netloc
        foreign = [url for url in asked if urlsplit(url).netloc not in ("", origin)]
        yield Figure(
            "first page",
            round(received / 1000, 1),
            LIMITS["kB"],
            "kB",
            "bytes that Chromium received for /, headers, icon and manifest included, empty cache",
        )
        yield Figure(
            "requests to other origins",
            len(foreign),
            LIMITS["origins"],
            "",
            "of all requests of / and of a chat",
        )

    def paints(self) -> Iterator[Figure]:
        """When the largest part of a page stands, on a slow processor."""
        for name, path in (("the first page", "/"), ("a chat", self.told["chat"])):
            self.say(f"largest paint of {name}")
            times = []
            for _ in range(RUNS):
                with self.page(signed_in=path != "/") as (page, session):
                    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLING})
                    page.add_init_script(OBSERVE_PAINT)
                    page.goto(self.url + path, wait_until="networkidle")
                    times.append(page.evaluate("window.largestPaint"))
            yield Figure(
                f"largest paint of {name}",
                round(median(times)),
                LIMITS["paint"],
                "ms",
                f"largest-contentful-paint, processor throttled {THROTTLING} ×, empty cache,"
                f" median of {RUNS} (from {min(times):.0f} to {max(times):.0f})",
            )

    def running(self) -> Iterator[Figure]:
        """What pushed text costs a page that shows very many messages."""
        with self.page(signed_in=True) as (page, session):
            self.say(f"a page of {many.MESSAGES} messages")
            pushes: list[str] = []
            session.send("Network.enable")
            session.on("Network.webSocketFrameReceived", lambda event: note(pushes, event))
            page.goto(self.url + self.told["chat"])
            show_all(page)
            session.send("Performance.enable")
            scripts, excesses, worst = [], [], []
            for number in range(1, ROUNDS + 1):
                self.say(f"round {number} of {ROUNDS}")
                before = script_seconds(session)
                ask(page, pushes)
                scripts.append((script_seconds(session) - before) * 1000 / len(pushes))
                page.evaluate(RECORD_FRAMES)
                page.wait_for_timeout(IDLE_MS)
                idle = max(page.evaluate(STOP_RECORDING))
                page.evaluate(RECORD_FRAMES)
                ask(page, pushes)
                busy = max(page.evaluate(STOP_RECORDING))
                excesses.append(busy - idle)
                worst.append(f"{busy:.0f} after {idle:.0f}")
        yield Figure(
            "script per pushed frame",
            round(median(scripts), 2),
            LIMITS["script"],
            "ms",
            f"Chromium's ScriptDuration of a whole answer, sending it included, by frames pushed,"
            f" in a page of {many.MESSAGES} messages, median of {ROUNDS} answers",
        )
        yield Figure(
            "longest frame beyond the idle page's",
            round(median(excesses), 1),
            LIMITS["frames"],
            "ms",
            "longest interval of requestAnimationFrame while an answer comes, less that of"
            f" {IDLE_MS // 1000} idle seconds, same page, median of {ROUNDS}"
            f" ({', '.join(worst)})",
        )


def note(pushes: list[str], event: dict[str, Any]) -> None:
    header, _ = parse_frame(event["response"]["payloadData"])
    if header["t"] in ("frame", "end"):
        pushes.append(header["t"])


def show_all(page: Page) -> None:
    """Scroll up until all messages are there, and back to the end."""
    for _ in range(WAIT_MS // 100):
        if page.locator(".message").count() >= many.MESSAGES:
            page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
            return
        page.evaluate("document.querySelector('.scroller').scrollTop = 0")
        page.wait_for_timeout(100)
    raise TimeoutError("The earlier messages did not come.")


def ask(page: Page, pushes: list[str]) -> None:
    """Send a message and wait for the end of its answer, without asking the page."""
    pushes.clear()
    page.fill("#composer-text", "Tell me more")
    page.keyboard.press("Enter")
    waited = 0
    while "end" not in pushes:
        page.wait_for_timeout(100)
        waited += 100
        if waited > WAIT_MS:
            raise TimeoutError("The answer did not end.")


def script_seconds(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "ScriptDuration")


def queries(told: dict[str, Any]) -> Iterator[Figure]:
    """What the pages ask the database, whoever asks for them."""
    counted = told["queries"]
    yield Figure(
        "queries of a page, at most",
        max(max(counts) for counts in counted.values()),
        QUERIES,
        "",
        "session and user included: "
        + ", ".join(f"{page} {much}" for page, (_, much) in counted.items()),
    )
    yield Figure(
        "queries more for much than for little",
        max(much - little for little, much in counted.values()),
        0,
        "",
        f"{many.CHATS} chats and {many.MESSAGES} messages against 1 and 2, the same pages",
    )


def as_json(figures: list[Figure]) -> str:
    rows = [
        {"name": one.name, "value": one.value, "limit": one.limit, "unit": one.unit}
        for one in figures
    ]
    return json.dumps(rows, separators=(",", ":"))


def as_lines(figures: list[Figure]) -> str:
    """A figure a line, and how it was measured under it."""
    lines = []
    for one in figures:
        verdict = "ok" if one.is_met else "MISSED"
        lines.append(f"{verdict:7}{one.name:40}{one.value:>8} {one.unit:3} at most {one.limit:g}")
        lines.append(f"       {one.how}")
    return "\n".join(lines)

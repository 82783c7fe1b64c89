"""Tries what stands in `deploy/` on this machine, without containers, and chats through it.

    python -m scripts.try_deploy          prints each check; exit code 1 when one fails

Needs Debian's caddy, postgresql-15 and redis-server. Everything listens on free loopback ports,
keeps its files in a temporary folder, and is ended at the end.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
import time
from asyncio import Future
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from conversations.bench.page import attribute, tags_with
from conversations.lab.checker import check
from conversations.lab.people import Person
from conversations.lab.process import Missing
from conversations.lab.readers import poll, read_events
from conversations.lab.store import Store
from conversations.lab.tab import Tab
from conversations.lab.watched import Watched
from scripts import caddy_checks
from scripts.deployment import Deployment
from scripts.visiting import Failed, Visit, expect, say, token

T = TypeVar("T")

# Browsers that send forms all the time: one of them would seldom meet a closing process.
SENDERS = 3
# What an operator would write into deploy/.env.
VARIABLES = {
    "SECRET_KEY": "try-deploy-only-" + "x" * 50,
    "FIELD_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "ALLOWED_HOSTS": "localhost",
    "POSTGRES_PASSWORD": "tryDeployOnly",
    "SITE_ADDRESS": "localhost",
    "DEFAULT_MODEL": "echo:echo",
    "ECHO_DELAY_MILLISECONDS": "30",
}


async def visit(deployment: Deployment) -> int:
    """All checks; how many failed."""
    visiting = Visit(deployment)
    store = Store(deployment.database_url)
    check = visiting.check
    try:
        await check("TLS: a guest signs in, asks and reads to the end", chat(visiting, store))
        await check("other origins' forms and sockets are refused", foreign_origins(visiting))
        await check("hashed files come compressed, for ever", caddy_checks.static_files(visiting))
        await check("/healthz and /readyz are not public", caddy_checks.hidden(visiting))
        await check("a body above the limit is refused by Caddy", caddy_checks.body_limit(visiting))
        await check("what a client says of itself is dropped", caddy_checks.headers(visiting))
        await check("X-Forwarded-For does not escape the throttle", caddy_checks.throttle(visiting))
        await asyncio.gather(
            check("a rolling restart, forms sent all the time", rolling_restart(visiting, store)),
            check("a header that comes drop by drop is cut off", caddy_checks.drip(visiting)),
            check("Caddy's errors leave a page's form alone", caddy_checks.errors(visiting)),
        )
        await check("the log holds no query and no header", caddy_checks.access_log(visiting))
        deployment.change(SITE_ADDRESS="http://localhost", HTTPS="False")
        await check("plain HTTP on a port: the same chat", chat(visiting, store))
    finally:
        await visiting.close()
        store.close()
    return visiting.failures


# --- The chat


async def ask(visiting: Visit, person: Person, store: Store, words: str) -> Watched:
    """Send a first message to echo, and watch its answer in a tab and by both raw readers."""
    action, fields = await person.compose(words, "echo:echo")
    answer = await person.once(action, fields)
    expect(answer.status == 200, f"the message was answered {answer.status}")
    (element,) = tags_with(answer.text, "data-stream")
    oracle = f'I received your message: "{words}". How can I help you further?'
    stream = attribute(element, "data-stream")
    watched = Watched(words[:20], person, answer.url, stream, oracle, time.monotonic())
    watched.stored_length = store.length
    return watched


def observers(watched: Watched) -> list[Coroutine[Any, Any, None]]:
    return [Tab(watched).run(), read_events(watched), poll(watched)]


@asynccontextmanager
async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[Future[list[T]]]:
    """Run them beside the body; whatever becomes of it, nothing of them stays."""
    running = asyncio.gather(*coroutines)
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def chat(visiting: Visit, store: Store) -> None:
    """Sign in as a guest by the form, ask, and compare every sight of the answer with the rows."""
    person = visiting.person()
    await sign_in_as_guest(person)
    watched = await ask(visiting, person, store, "every word is stored before it is shown")
    async with asyncio.timeout(30):
        await asyncio.gather(*observers(watched))
    tally = await check([watched], store, complete=True)
    expect(tally.is_clean, tally)
    for sight in watched.sights:
        # Live, not at the end in one piece, unless it is a long poll, which takes what there is.
        expect(len(sight.growth) > 5, f"{sight.observer} saw {len(sight.growth)} pieces")


async def sign_in_as_guest(person: Person) -> None:
    page = (await person.ask_for("/accounts/sign-in/")).text
    answer = await person.once("/accounts/sign-in/guest/", {"csrfmiddlewaretoken": token(page)})
    expect(answer.status == 200 and "sign-out" in answer.text, f"answered {answer.status}")


async def rolling_restart(visiting: Visit, store: Store) -> None:
    """Restart all processes, two at a time, while a long answer streams and forms come; stop it.

    Every page and form must be answered at the first try.
    """
    person = visiting.person()
    watched = await ask(visiting, person, store, "a long story " * 400)
    over = asyncio.Event()
    senders = [send_until(over, visiting.person()) for _ in range(SENDERS)]
    async with (
        together(observers(watched)) as observing,
        together(senders) as sending,
    ):
        for pair in (("web1", "worker1"), ("web2", "worker2")):
            restarts = [asyncio.to_thread(visiting.deployment.restart, name) for name in pair]
            for name, took in zip(pair, await asyncio.gather(*restarts), strict=True):
                say(f"        {name} stopped within {took:.1f} s and is back")
            expect(state_of(store, watched) == "streaming", "the answer did not go on")
        over.set()
        say(f"        {sum(await sending)} messages were accepted meanwhile")
        await stop(person, watched)
        async with asyncio.timeout(10):
            await observing
    tally = await check([watched], store, complete=False)
    expect(tally.is_clean, tally)
    expect(state_of(store, watched) == "stopped", store.row(watched.stream))
    lost = [len(sight.lost_at) for sight in watched.sights if sight.observer == "tab"]
    expect(lost[0] >= 1, "the tab never lost its socket: nothing was tried")


def state_of(store: Store, watched: Watched) -> str:
    row = store.row(watched.stream)
    return row.status if row else "unknown"


async def send_until(over: asyncio.Event, person: Person) -> int:
    """Pages and first messages in turn, each answered at the first try; how many messages."""
    sent = 0
    while not over.is_set():
        page = await person.once("/")
        expect(page.status == 200, f"page {sent} was answered {page.status}: {page.text[:200]}")
        action, fields = await person.compose(f"message {sent}", "echo:echo")
        answer = await person.once(action, fields)
        expect(
            answer.status == 200, f"form {sent} was answered {answer.status}: {answer.text[:200]}"
        )
        sent += 1
    return sent


async def stop(person: Person, watched: Watched) -> None:
    """Press the page's Stop button."""
    page = (await person.ask_for(watched.path)).text
    found = re.search(r'class="stop-form" method="post" action="([^"]+)"', page)
    expect(found, "the page has no Stop button")
    assert found
    answer = await person.once(found[1], {"csrfmiddlewaretoken": token(page)})
    expect(answer.status == 200, f"Stop was answered {answer.status}")


async def foreign_origins(visiting: Visit) -> None:
    """Neither a form nor a socket of another site's page, or of this one without TLS, gets in."""
    person = visiting.person()
    await sign_in_as_guest(person)
    action, fields = await person.compose("not to be sent", "echo:echo")
    for origin in ("https://forged.example", visiting.url.replace("https:", "http:")):
        form = await person.once(action, fields, {"Origin": origin})
        expect(form.status == 403, f"a form of {origin} was answered {form.status}")
        try:
            await person.http.ws_connect(f"{visiting.url}/ws/streaming/", origin=origin)
        except aiohttp.WSServerHandshakeError as error:
            expect(error.status == 403, f"a socket of {origin} was answered {error.status}")
        else:
            raise Failed(f"a socket of {origin} was opened")


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="chatsite-deploy-"))
    began = time.monotonic()
    try:
        with Deployment(folder, dict(VARIABLES)).running() as deployment:
            say(f"ok      all services are up ({time.monotonic() - began:.1f} s)")
            failures = asyncio.run(visit(deployment))
            if failures:
                for name, process in deployment.processes.items():
                    say(f"--- {name}\n{process.last_words()}")
    except Missing as missing:
        say(str(missing))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{failures} checks failed" if failures else "Everything works.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

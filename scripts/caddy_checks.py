"""What Caddy does by itself in front of a tried deployment: limits, headers, files, its log."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from conversations.lab.process import destroying, free_port
from scripts.visiting import Visit, expect, token

# `read_header` in the Caddyfile.
HEADER_SECONDS = 10
# `chatsite.accounts.throttles`.
PER_NETWORK = 50


async def static_files(visiting: Visit) -> None:
    person = visiting.person()
    page = (await person.once("/")).text
    paths = set(re.findall(r"/static/[\w./-]+\.[0-9a-f]{12}\.(?:css|js)", page))
    expect(len(paths) > 3, f"the page names only {paths}")
    for path in paths:
        async with person.http.get(visiting.url + path) as response:
            given = response.headers
            expect(response.status == 200, f"{path} was answered {response.status}")
            expect(given.get("Content-Encoding") in ("gzip", "zstd"), f"{path}: {given}")
            expect("immutable" in given["Cache-Control"], f"{path}: {given}")
            stored = visiting.deployment.folder / "www" / path[1:]
            expect(await response.read() == stored.read_bytes(), f"{path} has other contents")
    # Without a hash in its name it is the site's own answer.
    answer = await person.once("/static/chat.css")
    expect(answer.status == 200, f"chat.css was answered {answer.status}")


async def hidden(visiting: Visit) -> None:
    person = visiting.person()
    for path in ("/healthz", "/readyz", "//readyz", "/%72eadyz", "/c/../readyz", "/readyz?x=1"):
        answer = await person.once(path)
        expect(answer.status == 404 and "database" not in answer.text, f"{path}: {answer}")


async def body_limit(visiting: Visit) -> None:
    limit = int(visiting.deployment.services["caddy"].environment["MAX_BODY_BYTES"])
    person = visiting.person()
    url = visiting.url + "/c/"
    async with person.http.post(url, data=b"x" * (limit + 1)) as response:
        expect(response.status == 413, f"answered {response.status}")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(limit // 65_536 + 2):
            yield b"x" * 65_536

    # Without a length: Caddy counts.
    async with person.http.post(url, data=pieces()) as response:
        expect(response.status == 413, f"without a length: {response.status}")
    # Just within: Django's own answer, here that the token is missing.
    async with person.http.post(url, data=b"x" * limit) as response:
        expect(response.status == 403, f"within the limit: {response.status}")


async def headers(visiting: Visit) -> None:
    """Another Caddy of the same Caddyfile before a server that says what headers it got."""
    forged = {
        "Daphne-Root-Path": "/forged",
        "X-Forwarded-For": "198.51.100.1",
        "X-Forwarded-Proto": "forged",
        "X-Forwarded-Host": "forged.example",
        "X-Forwarded-Prefix": "/forged",
        "X-Real-IP": "198.51.100.1",
        "X-Script-Name": "/forged",
        "Forwarded": "for=198.51.100.1",
    }
    with telling_server() as teller, other_caddy(visiting, teller) as url:
        person = visiting.person("127.0.0.9")
        async with person.http.get(url, headers=forged) as response:
            got = {name.lower(): value for name, value in await response.json()}
    expect(got.pop("x-forwarded-for", "") == "127.0.0.9", got)
    expect(got.pop("x-forwarded-proto", "") == "https", got)
    expect(got.pop("x-forwarded-host", "") == got.pop("host") == urlsplit(url).netloc, got)
    expect(not got.keys() & {name.lower() for name in forged}, got)


async def errors(visiting: Visit) -> None:
    """Caddy's own errors, here of processes that are gone, leave a page's form as it is."""
    with other_caddy(visiting, upstream=free_port()) as url:
        person = visiting.person()

        async def answered(headers: dict[str, str]) -> bytes:
            async with person.http.post(f"{url}c/", data={"content": "x"}, headers=headers) as got:
                expect(got.status in (502, 503), f"answered {got.status}")
                expect("Retry-After" in got.headers, got.headers)
                return await got.read()

        plain, htmx = await asyncio.gather(answered({}), answered({"HX-Request": "true"}))
    expect(b"try again" in plain, f"a person was answered {plain!r}")
    expect(not htmx, f"a page was answered {htmx!r}")


@contextmanager
def other_caddy(visiting: Visit, upstream: int) -> Iterator[str]:
    """Another Caddy of the same Caddyfile, before a port in place of the web processes; its URL."""
    deployment, port = visiting.deployment, free_port()
    text = json.dumps(deployment.caddy_config(port))
    for name in ("web1", "web2"):
        place = f'"127.0.0.1:{deployment.ports[name]}"'
        expect(place in text, f"{name} is not before {place}")
        text = text.replace(place, f'"127.0.0.1:{upstream}"')
    file = deployment.folder / f"caddy-{port}.json"
    file.write_text(text)
    caddy = deployment.caddy(file, port)
    with destroying(caddy):
        caddy.start()
        yield f"{visiting.url.rpartition(':')[0]}:{port}/"
        # Not killed: it shares its certificates, and their locks, with the first one.
        caddy.stop()


class Teller(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(list(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def telling_server() -> Iterator[int]:
    """A server that answers with the request's headers; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Teller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


async def throttle(visiting: Visit) -> None:
    """Each attempt claims another address, and all count for the one that they came from."""
    # Both web processes count for themselves.
    attempts = 2 * PER_NETWORK + 1
    path = "/accounts/password/reset/"

    async def statuses(address: str, count: int) -> set[int]:
        person = visiting.person(address)
        field = {"csrfmiddlewaretoken": token((await person.once(path)).text)}
        answers = [
            await person.once(
                path,
                field | {"email": f"{address}-{number}@example.com"},
                {"X-Forwarded-For": f"198.51.100.{number}"},
            )
            for number in range(count)
        ]
        return {answer.status for answer in answers}

    expect(429 in await statuses("127.0.0.7", attempts), "nothing was throttled")
    found = await statuses("127.0.0.8", 2)
    expect(found == {200}, f"another client was answered {found}")


async def drip(visiting: Visit) -> None:
    """A header that comes drop by drop is cut off in time."""
    port = visiting.deployment.ports["caddy"]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=visiting.tls(), server_hostname="localhost"
    )
    began = time.monotonic()
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    closed = asyncio.create_task(reader.read())
    while not closed.done() and time.monotonic() - began < 2 * HEADER_SECONDS:
        with suppress(ConnectionError):
            writer.write(b"X-Drop: 1\r\n")
            await writer.drain()
        await asyncio.wait([closed], timeout=1)
    took = time.monotonic() - began
    expect(closed.done() and took < HEADER_SECONDS + 3, f"a slow header lives for {took:.0f} s")
    writer.close()


async def access_log(visiting: Visit) -> None:
    deployment = visiting.deployment
    log = deployment.log("caddy").read_text()
    expect("/readyz" in log, "there is no access log")
    expect("x=1" not in log, "a query is in the log")
    expect("User-Agent" not in log and "Cookie" not in log, "headers are in the log")

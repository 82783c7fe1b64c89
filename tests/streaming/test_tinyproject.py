"""`streaming` alone, in a project that is not the chat: its real server, driven over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar

import pytest

from tests.services import ROOT, free_port, listens, wait_until

LINES = [f"{number}: tea & more\n" for number in range(10)]


class TinySite:
    """The running project and a browser-like client with cookies."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def open(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, str, str]:
        """(status, body, address after redirects) of a GET, or of a POST of `data`."""
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with self._opener.open(request, timeout=20) as response:
                return response.status, response.read().decode(), response.url
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.url

    def create(self, **fields: str) -> str:
        """Send the form; the new stream's id."""
        _, form, _ = self.open("/reports/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        status, _, address = self.open("/reports/", data)
        assert status == 200
        return address.rstrip("/").rsplit("/", 1)[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinySite]:
    folder = tmp_path_factory.mktemp("tinyproject")
    env = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "tests.tinyproject.settings",
        "TINY_DATABASE": str(folder / "tiny.sqlite3"),
    }
    python = [sys.executable, "-W", "error::RuntimeWarning", "-m"]
    subprocess.run([*python, "django", "migrate", "--verbosity=0"], cwd=ROOT, env=env, check=True)
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*python, "daphne", "-p", str(port), "tests.tinyproject.asgi:application"],
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: listens(port), "The tiny project's server starts", process=process)
        yield TinySite(port)
    finally:
        process.kill()
        process.wait(30)
    assert "Traceback" not in log.read_text()


def test_a_generator_and_two_tags_make_a_page_with_a_stream(site: TinySite) -> None:
    pk = site.create(subject="tea")
    _, page, _ = site.open(f"/reports/{pk}/")
    assert f'id="stream-{pk}"' in page
    assert "streaming/streaming.js" in page

    status, events, _ = site.open(f"/streams/{pk}?offset=-1&live=sse")
    assert status == 200
    assert text_of(events) == "".join(LINES)
    assert '"streamClosed": true' in events

    _, page, _ = site.open(f"/reports/{pk}/")
    assert 'data-status="done"' in page
    assert "data-stream=" not in page
    assert "9: tea &amp; more" in page


def test_a_manual_start_gives_its_text_to_one_post(site: TinySite) -> None:
    pk = site.create(subject="tea", later="")
    assert site.open(f"/streams/{pk}") == (200, "", f"{site.url}/streams/{pk}")
    body = json.dumps({"streamId": pk}).encode()
    first = site.open("/chat-stream", body, **{"Content-Type": "application/json"})
    assert first[:2] == (200, "".join(LINES))
    assert site.open("/chat-stream", body)[:2] == (205, "")
    assert site.open(f"/streams/{pk}")[:2] == (200, "".join(LINES))


def test_it_needs_nothing_of_the_chat() -> None:
    program = (
        "import sys; import tests.tinyproject.asgi; "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'streaming'" in done.stdout
    assert "'conversations'" not in done.stdout
    assert "'chatsite'" not in done.stdout


def text_of(events: str) -> str:
    """The text that the `data` events carry."""
    pieces = [
        [line.removeprefix("data: ") for line in event.split("\n")[1:]]
        for event in events.split("\n\n")
        if event.startswith("event: data\n")
    ]
    return "".join("\n".join(lines) for lines in pieces)

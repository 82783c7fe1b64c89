"""The demo model for real: skipped where its two packages are not installed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from conversations import providers
from conversations.providers import local
from conversations.providers.base import ChatRequest, Text, Turn


@pytest.fixture(autouse=True, scope="module")
def demo_model() -> None:
    """Skip these tests, or fail them in CI, where the model's packages are not installed."""
    if local.weights() is None:
        sentence = "The demo model is not installed; `make demo-model` does it."
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


@pytest.fixture(autouse=True)
def own_server(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.LOCAL_MODEL = "auto"
    settings.LOCAL_MODEL_DIR = str(tmp_path / "run")
    settings.PROVIDER_FIRST_TOKEN_SECONDS = 60
    settings.PROVIDER_TOTAL_SECONDS = 120
    server = local.LocalServer()
    monkeypatch.setattr(local, "server", server)
    yield
    server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_real_answer_streams_in_and_carries_on(ask) -> None:
    provider, name = providers.provider_for(local.CHOICE.id)
    answer = await ask(provider, name, "Name three colours.", parameters={"max_tokens": 40})
    assert len(answer.pieces) > 2
    assert answer.finished in ("stop", "length")
    assert answer.usage.completion_tokens > 2


async def test_it_carries_on_as_if_it_had_not_been_cut(ask) -> None:
    provider, name = providers.provider_for(local.CHOICE.id)
    question = "What is the capital of France?"
    # The likeliest word at each step: the same text each time.
    parameters = {"temperature": 0, "max_tokens": 24}
    whole = await ask(provider, name, question, parameters=parameters)
    prefix = "".join(whole.pieces[: len(whole.pieces) // 2])
    rest = await ask(provider, name, question, prefix=prefix, parameters=parameters)
    assert provider.carries_on
    assert len(prefix) > 10
    assert (prefix + rest.text).startswith(whole.text)


async def test_a_message_that_does_not_fit_is_too_long(ask) -> None:
    provider, name = providers.provider_for(local.CHOICE.id)
    answer = await ask(provider, name, "word " * 4_000)
    assert answer.error.code == "too_long"


async def test_a_child_that_died_is_started_again(ask) -> None:
    provider, name = providers.provider_for(local.CHOICE.id)
    server = local.server
    first = server.endpoint()
    assert server.endpoint() == first, "one child serves all"
    assert local.LocalServer().endpoint() == first, "also other processes"
    pid = server._process.pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    answer = await ask(provider, name, parameters={"max_tokens": 3})
    assert answer.error is None
    assert server.endpoint() != first


async def test_an_answer_goes_on_when_the_child_is_killed_in_the_middle(ask) -> None:
    provider, name = providers.provider_for(local.CHOICE.id)
    question = "Tell me about the sea."
    parameters = {"temperature": 0, "max_tokens": 60}
    whole = await ask(provider, name, question, parameters=parameters)
    pid = local.server._process.pid
    request = ChatRequest(name, [Turn("user", question)], parameters=parameters)
    said = ""
    async with aclosing(provider.stream(request)) as events:
        async for event in events:
            if isinstance(event, Text):
                said += event.text
                if pid and len(said) > len(whole.text) / 3:
                    os.kill(pid, signal.SIGKILL)
                    pid = 0
    assert local.server._process.pid != pid
    assert said.startswith(whole.text)


async def test_the_key_is_for_us_alone(settings: Any) -> None:
    from conversations.providers.base import ProviderError
    from conversations.providers.transport import fetch_json

    endpoint = local.server.endpoint()
    with pytest.raises(ProviderError) as refused:
        await fetch_json(f"{endpoint.url}/v1/props", {"Authorization": "Bearer other"})
    assert refused.value.code == "refused"
    folder = Path(settings.LOCAL_MODEL_DIR)
    assert folder.stat().st_mode & 0o077 == 0
    assert all(f.stat().st_mode & 0o077 == 0 for f in folder.glob("*.json"))
    command = Path(f"/proc/{local.server._process.pid}/cmdline").read_text()
    assert endpoint.key not in command


async def test_the_child_ends_with_its_parent(settings: Any) -> None:
    code = f"""
        import sys
        from django.conf import settings
        settings.configure(LOCAL_MODEL="auto", LOCAL_MODEL_DIR={settings.LOCAL_MODEL_DIR!r})
        from conversations.providers import local
        local.server.endpoint()
        print(local.server._process.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
        assert is_alive(child)
    finally:
        parent.kill()
        parent.communicate()
    await until(lambda: not is_alive(child))


async def test_a_machine_that_cannot_run_it_gets_a_sentence(
    ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    monkeypatch.setattr(local, "weights", lambda: broken)
    provider, name = providers.provider_for(local.CHOICE.id)
    answer = await ask(provider, name)
    assert answer.error.code == "no_model"
    assert answer.error.detail == "The demo model does not run on this machine."
    assert local.CHOICE not in providers.models()


async def test_a_folder_that_others_can_enter_is_not_used(ask, settings: Any) -> None:
    folder = Path(settings.LOCAL_MODEL_DIR)
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    provider, name = providers.provider_for(local.CHOICE.id)
    assert (await ask(provider, name)).error.code == "no_model"

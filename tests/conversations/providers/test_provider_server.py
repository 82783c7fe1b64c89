"""The scripted server as a process of its own, as other tests use it."""

from __future__ import annotations

from pathlib import Path

from conversations.lab.provider import Script, process
from conversations.providers.openai import OpenAI
from conversations.providers.transport import fetch_json


async def test_it_prints_its_port_and_counts_what_it_served(ask, tmp_path: Path) -> None:
    script = Script(tokens=10, rate=100)
    with process({"paced": script}, tmp_path) as port:
        provider = OpenAI(f"http://127.0.0.1:{port}/v1")
        answer = await ask(provider, "paced")
        assert answer.text == script.answer
        other = await ask(provider, "any", 'Please use script {"text": "by message"}')
        assert other.text == "by message"
        stats = await fetch_json(f"http://127.0.0.1:{port}/stats", {})
    assert stats == {"requests": 2, "open": 0, "done": 2, "left": 0}

"""A site with very many chats and a chat of very many messages, and what its pages ask.

Runs within the measured site, by `manage.py shell`; see `run`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ..lab.commands import manage
from ..models import Conversation, Message, Role
from .provider import MODEL

# Messages of the large chat, and chats of its owner.
MESSAGES, CHATS = 500, 200
ANSWER = (Path(__file__).parent / "answer.md").read_text(encoding="utf-8")
PAGES = ("/", "/?archived=1", "/search/?q=question", "/settings/", "chat", "chat options/")


def run(env: Mapping[str, str]) -> dict[str, Any]:
    """Fill the database of `env`: `chat`, `session` (its owner's) and `queries` of the pages."""
    command = "from conversations.bench import many; many.main()"
    told: dict[str, Any] = json.loads(manage(env, "shell", "--no-imports", "-c", command))
    return told


def main() -> None:
    """Make a person with little and one with much, and count what the same pages ask for each."""
    little, much = Person("little", 1, 2), Person("much", CHATS, MESSAGES)
    # The first request of a process asks what is remembered for all others.
    little.queries_of("/")
    queries = {page: (little.queries_of(page), much.queries_of(page)) for page in PAGES}
    told = {"chat": much.chat, "session": much.session, "queries": queries}
    sys.stdout.write(f"{json.dumps(told)}\n")


class Person:
    """Somebody who is signed in and has so many chats, the newest with so many messages."""

    def __init__(self, name: str, chats: int, messages: int) -> None:
        user = get_user_model().objects.create(email=f"{name}@example.com", password="!")
        made = Conversation.objects.bulk_create(
            Conversation(owner=user, title=f"Question {number}", model=f"openai:{MODEL}")
            for number in range(chats)
        )
        self.chat = made[-1].get_absolute_url()
        self._fill(made[-1], messages)
        for conversation in made[:-1]:
            self._fill(conversation, 2)
        # The name that the site allows.
        self._client = Client(SERVER_NAME="127.0.0.1")
        self._client.force_login(user)
        self.session: str = self._client.cookies["sessionid"].value

    def _fill(self, conversation: Conversation, messages: int) -> None:
        message: Message | None = None
        for number in range(messages):
            role = Role.ASSISTANT if number % 2 else Role.USER
            content = ANSWER if number % 2 else f"Question {number}"
            message = conversation.messages.create(role=role, content=content, parent=message)
        conversation.leaf = message
        conversation.save(update_fields=["leaf"])

    def queries_of(self, page: str) -> int:
        """How many queries a page costs, those for the session and the user included."""
        path = page.replace("chat", self.chat).replace(" ", "") if page[0] != "/" else page
        with CaptureQueriesContext(connection) as asked:
            response = self._client.get(path)
        if response.status_code != 200:
            raise RuntimeError(f"{path} answered {response.status_code}")
        return len(asked)

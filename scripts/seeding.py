"""Fills an empty site with the same people and chats each time, to be looked at and measured.

    manage.py shell --no-imports -c "from scripts import seeding; seeding.main()"

Times are told from now on, so that a list says 'Today' and '2 h' whenever it is made. Nothing
generates here: the running answer stands in the database as a writer left it, and stays so where
no process runs streams (`STREAMING_RUNNER=off`).
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.tokens import default_token_generator
from django.test import Client
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from chatsite.accounts.models import User
from conversations.actions import GENERATOR
from conversations.models import Conversation, Message, Persona, ProviderKey, Rating, Role
from conversations.reasoning import OPENING
from streaming.models import EndReason, Status, Stream

ANSWER = (Path(__file__).parent / "seeded_answer.md").read_text(encoding="utf-8")
# (title, hours ago) of the chats below those that are looked at.
OTHERS = (
    ("Names for a sourdough starter", 4),
    ("Compare two mortgage offers", 22),
    ("Why does my cat stare at the wall?", 26),
    ("Regular expressions for postcodes", 30),
    ("A week in Lisbon with two children", 75),
    ("Letter to the landlord about the heating", 100),
    ("Explain eigenvalues to a cook", 140),
    ("Tests that wait for a condition", 400),
    ("How do violins get their colour?", 900),
    ("대한민국의 가을 여행지", 1000),
    ("A reading list on the history of maps", 2200),
)


def seed() -> dict[str, Any]:
    """Make everything; its paths by name, and under `sessions` the key of each person's."""
    # No passwords: nobody signs in by the form, and hashing them takes time.
    owner = User.objects.create(email="ada@example.com", password="!")
    clerk = User.objects.create(email="clerk@example.com", password="!", is_staff=True)
    guest = User.objects.create(guest_key="seeded", password="!")
    Persona.objects.create(owner=owner, name="Plain editor", prompt="Cut every needless word.")
    for title, hours in reversed(OTHERS):
        chat(owner, title, hours * 60, [(f"{title}.", "A short answer.")])
    asked = "How do I keep an answer when the connection breaks?"
    rich = chat(owner, "Answers that last", 62, [(asked, ANSWER)])
    newest = last(rich)
    newest.usage = {"prompt_tokens": 18, "completion_tokens": 331}
    newest.rating = Rating.GOOD
    newest.save(update_fields=["usage", "rating"])
    ended(newest, Status.DONE, EndReason.COMPLETE)
    variant_of(newest, "Store it first, then show it.")
    thought = "The reader asks for one sentence.\n\nShort, then: what is stored cannot be lost."
    reasoned = chat(owner, "One sentence on durability", 90, [("In a sentence?", "Store first.")])
    Message.objects.filter(pk=last(reasoned).pk).update(reasoning=thought, reasoning_seconds=14)
    thinking = chat(owner, "A riddle", 2, [("What has keys but opens no lock?", "")])
    streaming(last(thinking), f"{OPENING}{thought}\nA piano, or a map?")
    running = chat(owner, "Store, then show", 1, [(f"{asked} With code, please.", "")])
    streaming(last(running), ANSWER[: ANSWER.index("| Part")])
    queued = chat(owner, "A plan for the garden", 5, [("What grows in the shade?", "")])
    streaming(last(queued), "Ferns, hostas and")
    last(queued).queued.create(content="And which of them do snails leave alone?")
    failed = chat(owner, "Rate limits", 125, [("What is a token bucket?", "A token bucket is")])
    ended(last(failed), Status.ERROR, EndReason.RATE_LIMIT)
    stopped = chat(owner, "Fermat's last theorem", 190, [("Prove it.", "Let n be greater than")])
    ended(last(stopped), Status.STOPPED, EndReason.USER)
    deleted = chat(owner, "An idea that came to nothing", 200, [("Never mind.", "Good.")])
    deleted.deleted_at = timezone.now()
    deleted.save(update_fields=["deleted_at"])
    chat(guest, "A guest's chat", 3, [("Is anybody there?", "I am.")])
    sorter = User.objects.create(email="grace@example.com", password="!")
    marked = sorted_chats(sorter)
    sessions = {
        "owner": session_of(owner),
        "clerk": session_of(clerk),
        "sorter": session_of(sorter),
        "guest": session_of(guest),
        # A guest's chats are offered to who has just signed in.
        "offered": session_of(owner, chats_to_bring_along={"guest": guest.pk, "next": "/"}),
    }
    # After the sessions: a sign-in makes older links useless.
    uid = urlsafe_base64_encode(force_bytes(owner.pk))
    token = default_token_generator.make_token(owner)
    prompt = rich.messages.get(parent=None)
    return {
        "chat": rich.get_absolute_url(),
        "running": running.get_absolute_url(),
        "reasoned": reasoned.get_absolute_url(),
        "thinking": thinking.get_absolute_url(),
        "queued": queued.get_absolute_url(),
        "failed": failed.get_absolute_url(),
        "stopped": stopped.get_absolute_url(),
        "edit": f"{rich.get_absolute_url()}?edit={prompt.pk}#message-{prompt.pk}",
        "deleted": f"/?deleted={deleted.pk}",
        "reset": f"/accounts/password/reset/{uid}/{token}/",
        "marked": marked.get_absolute_url(),
        "persona": f"/settings/prompts/{owner.personas.get().pk}/",
        "sessions": sessions,
    }


def chat(owner: User, title: str, minutes: int, turns: list[tuple[str, str]]) -> Conversation:
    """A chat of `turns` (message, answer), the last of them so many minutes ago."""
    at = timezone.now() - timedelta(minutes=minutes)
    conversation = Conversation.objects.create(
        owner=owner, title=title, model="openai:qwen3:8b", last_message_at=at
    )
    parent: Message | None = None
    for content, answer in turns:
        parent = conversation.messages.create(
            role=Role.USER, parent=parent, content=content, created_at=at
        )
        parent = conversation.messages.create(
            role=Role.ASSISTANT,
            parent=parent,
            content=answer,
            model="openai:qwen3:8b",
            created_at=at,
        )
    conversation.leaf = parent
    conversation.save(update_fields=["leaf"])
    return conversation


def sorted_chats(owner: User) -> Conversation:
    """A list with every mark, an archive, and a key of the person's own; the newest chat."""
    ProviderKey.objects.create(
        user=owner,
        provider="openai",
        base_url="https://api.openai.com/v1",
        last4="a4c9",
        listed=[
            {"name": name, "label": name, "context_tokens": 400_000}
            for name in ("gpt-5", "gpt-5-mini")
        ],
    )
    now = timezone.now()
    for title, hours in OTHERS[4:6]:
        old = chat(owner, title, hours * 60, [(f"{title}.", "A short answer.")])
        Conversation.objects.filter(pk=old.pk).update(archived_at=now)
    for title, hours in reversed(OTHERS[:4]):
        chat(owner, title, hours * 60, [(f"{title}.", "A short answer.")])
    first = owner.conversations.order_by("-last_message_at").first()
    assert first
    Conversation.objects.filter(pk=first.pk).update(pinned_at=now)
    unread = chat(owner, "Names of winter stars", 9, [("Which ones?", "Sirius, Rigel.")])
    Conversation.objects.filter(pk=unread.pk).update(is_unread=True)
    running = chat(owner, "A train to Vienna", 4, [("When does it leave?", "")])
    streaming(last(running), "Every morning at")
    return chat(owner, "Thanks to a neighbour", 1, [("A line, please.", "Thank you, Ida.")])


def last(conversation: Conversation) -> Message:
    assert conversation.leaf
    return conversation.leaf


def variant_of(answer: Message, content: str) -> None:
    """An older-looking second answer; the first stays the one that is shown."""
    answer.conversation.messages.create(
        role=answer.role, parent=answer.parent, content=content, model=answer.model
    )


def streaming(answer: Message, text: str) -> None:
    """Let an answer run that has come as far as `text`."""
    now = timezone.now()
    answer.stream = Stream.objects.create(
        generator=GENERATOR,
        owner=answer.conversation.owner,
        status=Status.STREAMING,
        length=len(text),
        epoch=1,
        started_at=now - timedelta(seconds=9),
        first_text_at=now - timedelta(seconds=8),
    )
    answer.stream.chunks.create(start=0, text=text, epoch=1, created_at=now)
    answer.content = ""
    answer.save(update_fields=["stream", "content"])


def ended(answer: Message, status: Status, reason: EndReason) -> None:
    """Let an answer have ended, with the text that it has."""
    now = timezone.now()
    answer.stream = Stream.objects.create(
        generator=GENERATOR,
        owner=answer.conversation.owner,
        status=status,
        end_reason=reason,
        length=len(answer.content),
        epoch=1,
        start_requested_at=now - timedelta(seconds=9.4),
        ended_at=now,
    )
    answer.save(update_fields=["stream"])


def session_of(user: User, **values: Any) -> str:
    """The key of a session in which `user` is signed in."""
    client = Client()
    client.force_login(user)
    session = client.session
    session.update(values)
    session.save()
    key: str = client.cookies["sessionid"].value
    return key


def main() -> None:
    sys.stdout.write(f"{json.dumps(seed())}\n")

"""`manage.py chat`: a conversation in the terminal, through the same log as the site's."""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from conversations import actions, providers
from conversations.exceptions import Refused, UnknownModel
from conversations.models import Conversation, Message
from conversations.submissions import Sent
from streaming import supervisor
from streaming.models import Status
from streaming.reader import follow

# The row of the guest who chats here without an account; no browser's cookie hashes to it.
TERMINAL_GUEST = "terminal"
DRAIN_SECONDS = 2.0

T = TypeVar("T")


class Command(BaseCommand):
    help = (
        "Chats in the terminal: each line is a message, its answer streams in and is stored like "
        "any other. Ctrl-C stops an answer, at the prompt it ends the chat, as does the end of "
        "input. Without --user the chat belongs to a guest of this terminal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--model",
            default="",
            help="Id of a model, for example echo:echo (default: the site's).",
        )
        parser.add_argument("--user", metavar="EMAIL", help="Whose chat it is.")

    def handle(self, *, model: str, user: str | None, **options: Any) -> None:
        person = find_person(user)
        screen = make_screen(self.stdout)
        conversation: Conversation | None = None
        with running_loop() as loop:
            for line in prompts():
                if not line.strip():
                    continue
                try:
                    sent = send(person, conversation, line, model)
                except UnknownModel as error:
                    offered = ", ".join(choice.id for choice in providers.models())
                    raise CommandError(f"{error} Offered are: {offered}") from None
                except Refused as error:
                    self.stderr.write(str(error))
                    continue
                conversation = sent.conversation
                self.show(loop, screen, sent.answer)

    def show(self, loop: asyncio.AbstractEventLoop, screen: Screen, answer: Message) -> None:
        """Show an answer until its end; Ctrl-C stops it, and its last words still come."""
        shown = asyncio.run_coroutine_threadsafe(print_answer(answer, screen), loop)
        try:
            shown.result()
        except KeyboardInterrupt:
            actions.stop(answer)
            shown.result()
        assert answer.stream
        answer.stream.refresh_from_db()
        if answer.stream.status != Status.DONE:
            self.stderr.write(answer.stream.sentence)


class Screen(Protocol):
    """Where an answer appears."""

    def write(self, text: str) -> None:
        """Show more of the answer."""
        ...

    def end(self) -> None:
        """The answer has ended."""
        ...


class PlainScreen:
    """Text as it comes: for pipes and files."""

    def __init__(self, out: OutputWrapper) -> None:
        self.out = out

    def write(self, text: str) -> None:
        self.out.write(text, ending="")
        self.out.flush()

    def end(self) -> None:
        self.out.write("\n", ending="")


class RichScreen:
    """Markdown in a terminal: closed blocks are printed once, the open one is drawn anew."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.markdown import Markdown

        self.console, self.markdown, self.make_live = Console(), Markdown, Live
        self.begin()

    def begin(self) -> None:
        from conversations.markdown import renderer

        self.document = renderer.live()
        self.text, self.printed = "", 0
        self.live: Any = None

    def write(self, text: str) -> None:
        if self.live is None:
            self.live = self.make_live(console=self.console, transient=True)
            self.live.start()
        self.text += text
        self.document.feed(text)
        self.print_to(self.document.cut)
        self.live.update(self.markdown(self.text[self.printed :]))

    def end(self) -> None:
        if self.live is not None:
            self.live.update("")
            self.print_to(len(self.text))
            self.live.stop()
        self.begin()

    def print_to(self, cut: int) -> None:
        """Print the blocks up to `cut`, which do not change any more, above the open one."""
        if cut > self.printed:
            self.console.print(self.markdown(self.text[self.printed : cut]))
            self.printed = cut


def make_screen(out: OutputWrapper) -> Screen:
    return RichScreen() if out.isatty() else PlainScreen(out)


def find_person(email: str | None) -> Any:
    """The account of `email`, or this terminal's guest. Raises CommandError."""
    users = get_user_model()._default_manager
    if email is None:
        return users.guest_of(TERMINAL_GUEST)
    try:
        return users.get_by_natural_key(email)
    except get_user_model().DoesNotExist:
        raise CommandError(f"There is no account with the email address {email}.") from None


def prompts() -> Iterator[str]:
    """The lines a person types, or those of a pipe, until the end or Ctrl-C at the prompt."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield input("› ")
        except (EOFError, KeyboardInterrupt):
            return


def send(person: Any, conversation: Conversation | None, text: str, model: str) -> Sent:
    """Store a message, the first one with its conversation. Raises Refused."""
    text = text.strip()
    if conversation is None:
        return actions.start_conversation(person, text, key=uuid.uuid4(), model=model)
    sent = actions.send_message(conversation, text, key=uuid.uuid4(), may_wait=False)
    assert isinstance(sent, Sent)
    return sent


async def print_answer(answer: Message, screen: Screen) -> None:
    """Follow the answer's stream and show it as it is committed."""
    assert answer.stream_id
    async for batch in follow(answer.stream_id):
        if batch.text:
            screen.write(batch.text)
    screen.end()


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in its own thread, with the supervisor that generates the answers.

    The main thread stays free for input and for Ctrl-C.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="chat")
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        run(supervisor.start())
        yield loop
    finally:
        run(supervisor.drain(DRAIN_SECONDS))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

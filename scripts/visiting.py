"""People who come to a tried deployment through Caddy, and what is reported of each check."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field

from conversations.bench.page import attribute, tags_with
from conversations.lab.people import Person
from scripts.deployment import Deployment


class Failed(Exception):
    """A check found something else than it should have; the message says what."""


def expect(is_so: object, found: object) -> None:
    """Raises Failed, telling what was found."""
    if not is_so:
        raise Failed(str(found))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def token(page: str) -> str:
    """The CSRF token of a page's first form."""
    tags = tags_with(page, "name")
    return next(attribute(t, "value") for t in tags if attribute(t, "name").startswith("csrf"))


@dataclass
class Visit:
    """Browsers before Caddy, and what failed so far."""

    deployment: Deployment
    failures: int = 0
    people: list[Person] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.deployment.url

    def tls(self) -> ssl.SSLContext:
        """Trusts whom the deployment's own authority has signed, and nobody else."""
        return ssl.create_default_context(cafile=str(self.deployment.authority))

    def person(self, address: str = "127.0.0.1") -> Person:
        """A new browser, at one of the machine's loopback addresses."""
        person = Person([self], ssl=self.tls(), family=socket.AF_INET, local_addr=(address, 0))
        self.people.append(person)
        return person

    async def check(self, what: str, checking: Awaitable[None]) -> None:
        """Report whether it fails."""
        began = time.monotonic()
        try:
            await checking
        except Exception as error:
            self.failures += 1
            say(f"FAILED  {what}: {type(error).__name__}: {error}")
        else:
            say(f"ok      {what} ({time.monotonic() - began:.1f} s)")

    async def close(self) -> None:
        for person in self.people:
            await person.close()

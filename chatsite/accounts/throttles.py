"""How often somebody may try: attempts counted in the cache, per window of fixed length."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

WINDOW_SECONDS = 15 * 60
PER_PERSON = 10
# An office shares one address; somebody who tries many accounts runs into this one.
PER_NETWORK = 50


class Throttle:
    """Attempts at one `purpose` by one person (an address, or a key) and from one network.

    An attempt is counted before it is made, so that parallel ones cannot slip through, and
    `forgive` takes it back when it turned out to be the right person.
    """

    def __init__(
        self, purpose: str, request: HttpRequest | None, person: str | None = None
    ) -> None:
        network = network_of(request)
        self.person_key = cache_key(purpose, "person", person) if person else None
        self.network_key = cache_key(purpose, "network", network) if network else None

    def attempt(self) -> None:
        """Count one attempt. Raises ValidationError (code `throttled`) when it is one too many."""
        of_person = count(self.person_key) if self.person_key else 0
        in_network = count(self.network_key) if self.network_key else 0
        if of_person > PER_PERSON or in_network > PER_NETWORK:
            raise ValidationError(
                _("Too many attempts. Please try again in %(minutes)s minutes."),
                code="throttled",
                params={"minutes": WINDOW_SECONDS // 60},
            )

    def forgive(self) -> None:
        """Take this attempt back, and forget the person's failed ones."""
        if self.person_key:
            cache.delete(self.person_key)
        if self.network_key:
            count(self.network_key, by=-1)


def count(key: str, by: int = 1) -> int:
    """Change the counter; return its new value. The first attempt opens the window."""
    cache.add(key, 0, WINDOW_SECONDS)
    try:
        return cache.incr(key, by)
    except ValueError:  # the window closed between the two calls
        return by


def cache_key(purpose: str, kind: str, value: str) -> str:
    """A key that any cache accepts and that shows nobody's address."""
    return f"throttle:{purpose}:{kind}:{hashlib.sha256(value.encode()).hexdigest()}"


def network_of(request: HttpRequest | None) -> str:
    """The client's IPv4 address or IPv6 /64 network, the least that one person can change.

    Empty where only a trusted proxy is known: counting it would lock everybody out at once.
    """
    address = client_address(request.META) if request else None
    if address is None:
        return ""
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def client_address(meta: Mapping[str, str]) -> Address | None:
    """The nearest address on the request's way that is no trusted proxy.

    Each proxy appends whom it heard from to X-Forwarded-For, so the list is read from its end, and
    only as far as trusted proxies wrote it: what stands before that is the client's own claim.
    """
    way = [*meta.get("HTTP_X_FORWARDED_FOR", "").split(","), meta.get("REMOTE_ADDR", "")]
    for hop in reversed(way):
        try:
            address = ipaddress.ip_address(hop.strip())
        except ValueError:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        if not any(address in network for network in settings.TRUSTED_PROXIES):
            return address
    return None

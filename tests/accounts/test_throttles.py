from __future__ import annotations

from ipaddress import ip_network

import pytest
from django.test import RequestFactory

from chatsite.accounts.throttles import network_of


def seen(peer: str, *forwarded: str) -> str:
    headers = {"X-Forwarded-For": ", ".join(forwarded)} if forwarded else {}
    return network_of(RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer))


@pytest.fixture(autouse=True)
def proxies(settings) -> None:
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16")]


def test_a_stranger_is_who_connects_whatever_the_header_says() -> None:
    assert seen("203.0.113.7") == "203.0.113.7"
    assert seen("203.0.113.7", "198.51.100.1") == "203.0.113.7"
    assert seen("203.0.113.7", "nonsense") == "203.0.113.7"


def test_a_trusted_proxy_is_believed_about_its_client_alone() -> None:
    assert seen("10.1.2.3", "203.0.113.7") == "203.0.113.7"
    assert seen("10.1.2.3", "198.51.100.1", "203.0.113.7") == "203.0.113.7"
    assert seen("10.2.2.3", "203.0.113.7") == "10.2.2.3"


def test_a_chain_of_trusted_proxies_is_followed_to_its_client() -> None:
    assert seen("127.0.0.1", "198.51.100.1", "203.0.113.7", "10.1.9.9") == "203.0.113.7"
    assert seen("127.0.0.1", "198.51.100.1", "2001:db8::7", "10.1.9.9") == "2001:db8::/64"


def test_a_proxy_that_names_nobody_is_not_counted_itself() -> None:
    assert seen("127.0.0.1") == ""
    assert seen("10.1.2.3", "10.1.2.4") == ""
    assert seen("10.1.2.3", "") == ""
    assert seen("10.1.2.3", "unknown") == ""
    assert seen("") == ""

from __future__ import annotations

import struct

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

# The session is read on the way to any page.
pytestmark = pytest.mark.django_db


def test_a_browser_can_install_the_site(client: Client) -> None:
    page = client.get("/").text
    assert '<link rel="manifest" href="/manifest.webmanifest">' in page
    assert 'rel="apple-touch-icon" href="/static/icons/apple-touch-icon.png"' in page
    response = client.get("/manifest.webmanifest")
    assert response.headers["Content-Type"] == "application/manifest+json"
    manifest = response.json()
    assert (manifest["name"], manifest["display"]) == ("chatsite", "standalone")
    assert client.get(manifest["start_url"]).status_code == 200
    assert {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]} >= {
        ("192x192", "any"),
        ("512x512", "any"),
        ("512x512", "maskable"),
    }


def test_the_icons_have_the_sizes_that_the_manifest_tells(client: Client) -> None:
    icons = client.get("/manifest.webmanifest").json()["icons"]
    drawn = [icon for icon in icons if icon["type"] == "image/png"]
    assert len(drawn) == 3
    for icon in drawn:
        assert "{}x{}".format(*size_of(icon["src"])) == icon["sizes"]
    assert size_of("/static/icons/apple-touch-icon.png") == (180, 180)


def test_the_policy_lets_the_page_load_its_manifest(client: Client) -> None:
    assert "manifest-src 'self'" in client.get("/").headers["Content-Security-Policy"]


def size_of(url: str) -> tuple[int, int]:
    """Width and height of a PNG, from its header (PNG specification, 11.2.1)."""
    path = finders.find(url.removeprefix("/static/"))
    assert path
    with open(path, "rb") as file:
        head = file.read(24)
    assert head.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", head[16:24])

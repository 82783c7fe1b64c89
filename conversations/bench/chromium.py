"""The browser that measurements and pictures are made in; only who develops this site needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..lab.process import Missing, find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium of this machine. Raises Missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoPlaywright from None
    path = find_program("chromium", "chromium")
    with sync_playwright() as playwright:
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


class NoPlaywright(Missing):
    def __init__(self) -> None:
        Exception.__init__(
            self,
            "Playwright is not installed; it is one of the development packages: "
            "pip install -r requirements/all.txt",
        )

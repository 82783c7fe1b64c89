"""What axe-core is asked, and that it would find something; it looks in test_everywhere.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.states import STATES, SeededSite, seeded_site, shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"


@pytest.fixture(scope="module")
def site() -> Iterator[SeededSite]:
    with seeded_site() as site:
        yield site


def serious(page: Page, *stricter: str) -> list[str]:
    """What keeps people from using the page: rule, element and why, a line each.

    Rules of axe that it does not apply by itself are applied where they are named.
    """
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "rules => axe.run({ rules }).then(result => result.violations)",
        {rule: {"enabled": True} for rule in stricter},
    )
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def test_what_keeps_people_from_using_a_page_would_be_seen(
    browser: Browser, site: SeededSite
) -> None:
    with shown(browser, site, STATES[0], bypass_csp=True) as page:
        page.evaluate(
            "document.querySelector('.lead').style.color = '#ccc';"
            "document.querySelector('.send-button').removeAttribute('aria-label');"
            "document.querySelector('.send-button').removeAttribute('title');"
        )
        assert {line.partition(":")[0] for line in serious(page)} == {
            "color-contrast",
            "button-name",
        }


def test_chromium_takes_the_site_for_an_app_that_can_be_installed(
    browser: Browser, site: SeededSite
) -> None:
    with shown(browser, site, STATES[0]) as page:
        session = page.context.new_cdp_session(page)
        found = session.send("Page.getAppManifest")
        assert found["url"] == f"{site.url}/manifest.webmanifest"
        assert found["errors"] == []
        # An incognito window, as each context is one, installs nothing; nothing else may be wrong.
        errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert {error["errorId"] for error in errors} <= {"in-incognito"}

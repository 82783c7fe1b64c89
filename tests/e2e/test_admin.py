from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.services import ROOT, Server, manage

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.e2e

EMAIL, PASSWORD = "auditor@example.com", "correct horse battery staple"


@pytest.fixture
def chats(server: Server) -> None:
    """A superuser, and two answers in one conversation."""
    env = {**server.env, "DJANGO_SUPERUSER_PASSWORD": PASSWORD, "ECHO_DELAY_MILLISECONDS": "5"}
    manage(env, "createsuperuser", "--noinput", f"--email={EMAIL}")
    subprocess.run(
        [sys.executable, "manage.py", "chat", "--model=echo:echo"],
        cwd=ROOT,
        env=env,
        input="Hello\nWhat is **bread**?\n",
        text=True,
        check=True,
        capture_output=True,
    )


@pytest.mark.usefixtures("chats")
def test_the_admin_works_under_the_strict_policy(
    context: BrowserContext, shot: Callable[..., None]
) -> None:
    context.add_init_script(
        "document.addEventListener('securitypolicyviolation', (event) =>"
        " console.error('refused:', event.violatedDirective, event.blockedURI));"
    )
    page = context.new_page()
    page.goto("/admin/streaming/stream/")
    page.fill("[name=username]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url("**/admin/streaming/stream/")
    # The admin's own script runs: it marks all rows.
    page.check("#action-toggle")
    assert page.locator("#result_list tr.selected").count() == 2
    shot(page, "admin-streams")
    page.click("#result_list tbody tr:first-child th a")
    page.locator("svg.stream-pace rect").nth(1).wait_for(state="attached")
    # The style sheet of these pages came through too.
    height = page.locator("svg.stream-pace").evaluate("svg => svg.getBoundingClientRect().height")
    assert 55 < height < 65
    shot(page, "admin-stream")
    page.goto("/admin/conversations/conversation/")
    page.click("#result_list tbody tr:first-child th a")
    page.locator(".conversation-turn").nth(3).wait_for()
    shot(page, "admin-conversation")

from __future__ import annotations

import sys

import pytest
from django.core.management import CommandError, call_command

from conversations.bench import browser, many
from conversations.bench.browser import Figure, Visit, as_json, as_lines
from conversations.bench.chromium import chromium
from conversations.management.commands import pagebench
from scripts.states import seeded_site


def figure(value: float) -> Figure:
    return Figure("script per pushed frame", value, 4.0, "ms", "by a stopwatch")


@pytest.mark.django_db
def test_pages_ask_few_queries_and_no_more_for_very_many_chats_and_messages() -> None:
    little, much = many.Person("little", 1, 2), many.Person("much", 60, 120)
    little.queries_of("/")
    for page in many.PAGES:
        asked = little.queries_of(page)
        assert 0 < asked <= browser.QUERIES, page
        assert much.queries_of(page) == asked, page


def test_numbers_are_printed_with_their_limits_and_the_method(monkeypatch, capsys) -> None:
    monkeypatch.setattr(pagebench, "measure_pages", lambda say: [figure(4.0)])
    call_command("pagebench")
    printed = capsys.readouterr().out
    assert printed.split() == [
        *("ok", "script", "per", "pushed", "frame", "4.0", "ms", "at", "most", "4"),
        *("by", "a", "stopwatch"),
    ]


def test_a_number_that_is_missed_is_an_error_after_all_were_printed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(pagebench, "measure_pages", lambda say: [figure(4.1), figure(1)])
    with pytest.raises(CommandError, match="Missed: script per pushed frame"):
        call_command("pagebench")
    assert "MISSED" in capsys.readouterr().out
    assert as_lines([figure(4.1)]).startswith("MISSED")
    with pytest.raises(CommandError):
        call_command("pagebench", "--json")
    assert capsys.readouterr().out.strip() == as_json([figure(4.1), figure(1)])


def test_without_playwright_a_sentence_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(CommandError, match="Playwright is not installed"):
        call_command("pagebench")


@pytest.mark.e2e
def test_a_newcomer_is_sent_little_and_nothing_by_others(chromium_path: str) -> None:
    with seeded_site() as site, chromium() as driven:
        told = {"chat": site.told["chat"], "session": site.told["sessions"]["owner"]}
        size, foreign = Visit(driven, site.url, told, lambda text: None).first_page()
    assert 20 < size.value <= size.limit == 60
    assert foreign.value == foreign.limit == 0

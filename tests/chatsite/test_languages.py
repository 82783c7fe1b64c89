"""Pages in the language that the browser asks for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.utils import timezone, translation

from conversations import actions
from conversations.models import Conversation
from conversations.sidebar import heading, short_age
from streaming.actions import end_stream
from streaming.models import Status
from tests.services import ROOT
from tests.streaming.rows import write

KOREAN = {"HTTP_ACCEPT_LANGUAGE": "ko-KR,ko;q=0.9,en;q=0.5"}
PHYSICAL = re.compile(
    r"(margin|padding|border|inset)-(left|right)\b|text-align: (left|right)|[\s{;](left|right):"
)
MORNING = datetime(2026, 3, 9, 8, 5, tzinfo=UTC)


@pytest.mark.django_db
def test_the_start_page_speaks_the_browser_s_language(client) -> None:
    korean = client.get("/", **KOREAN)
    assert '<html lang="ko" dir="ltr"' in korean.text
    assert "계정 없이 바로 시작할 수 있습니다." in korean.text
    assert "Start chatting" not in korean.text
    assert korean.headers["Content-Language"] == "ko"
    # What nobody translated yet.
    other = client.get("/", HTTP_ACCEPT_LANGUAGE="fr")
    assert '<html lang="en" dir="ltr"' in other.text
    assert "Start chatting, no account needed." in other.text


@pytest.mark.django_db
def test_a_chat_speaks_korean_around_its_text(client, owner) -> None:
    client.force_login(owner)
    sent = actions.start_conversation(owner, "Hello", key=uuid4())
    stream = sent.answer.stream
    assert stream
    write(stream, "The answer")
    end_stream(stream.pk, Status.STOPPED, "user")
    sent.answer.__class__.objects.update(created_at=MORNING)
    page = client.get(sent.answer.conversation.get_absolute_url(), **KOREAN).text
    for words in ("The answer", "중지했습니다.", "다시 시도", "답장…", "2026년 3월 9일 오전 8:05"):
        assert words in page
    for words in ("Stopped.", "Retry", "Reply…"):
        assert words not in page


@pytest.mark.django_db
def test_an_error_page_speaks_korean(client) -> None:
    response = client.get("/nothing/", **KOREAN)
    assert response.status_code == 404
    assert '<html lang="ko"' in response.text
    assert "페이지를 찾을 수 없습니다." in response.text


@pytest.mark.django_db
def test_a_crash_is_told_in_korean(client, owner, monkeypatch) -> None:
    client.force_login(owner)
    client.raise_request_exception = False
    monkeypatch.setattr(Conversation, "get_absolute_url", lambda self: 1 / 0)
    actions.start_conversation(owner, "Hello", key=uuid4())
    response = client.get("/", **KOREAN)
    assert response.status_code == 500
    assert '<html lang="ko"' in response.text
    assert "문제가 발생했습니다." in response.text


@pytest.mark.django_db
def test_a_refused_form_says_so_in_korean(client) -> None:
    response = client.post(
        "/accounts/sign-in/", {"username": "a@example.com", "password": "x"}, **KOREAN
    )
    assert "이메일 주소 또는 비밀번호가 올바르지 않습니다." in response.text


def test_dates_are_those_of_the_language() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    long_ago = datetime(2025, 5, 4, tzinfo=UTC)
    said = {}
    for language in ("en", "ko"):
        with translation.override(language), timezone.override(UTC):
            said[language] = [
                heading(MORNING, now.date()),
                heading(long_ago, now.date()),
                short_age(MORNING, now),
            ]
    assert said == {
        "en": ["March", "May 2025", "9 Mar"],
        "ko": ["3월", "2025년 5월", "3월 9일"],
    }


def test_styles_name_left_and_right_only_where_a_mirrored_rule_stands_beside() -> None:
    rules = (ROOT / "static" / "chat.css").read_text().splitlines()
    rules += (ROOT / "streaming" / "static" / "streaming" / "admin.css").read_text().splitlines()
    physical = [rule.strip() for rule in rules if PHYSICAL.search(rule)]
    # Where the element's own direction is that of what is typed, and what Markdown asks for.
    mirrored = (".bubble", ".composer textarea", "max-width: 80%;", 'td)[align="right"]')
    assert [rule for rule in physical if not any(mark in rule for mark in mirrored)] == []

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from conversations.sidebar import heading, short_age

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(hours=1), "Today"),
        (timedelta(hours=13), "Yesterday"),
        (timedelta(days=7), "Previous 7 days"),
        (timedelta(days=8), "Previous 30 days"),
        (timedelta(days=40), "February"),
        (timedelta(days=100), "December 2025"),
        (timedelta(seconds=-5), "Today"),
    ],
)
def test_chats_are_grouped_by_the_age_of_their_last_activity(ago, said):
    assert heading(NOW - ago, date(2026, 3, 15)) == said


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=-5), "now"),
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(days=2), "2 d"),
        (timedelta(days=20), "23 Feb"),
    ],
)
def test_ages_are_short(ago, said):
    assert short_age(NOW - ago, NOW) == said

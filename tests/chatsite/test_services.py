from __future__ import annotations

import psycopg
import pytest
import redis


@pytest.mark.services
def test_postgres_is_real_and_private(postgres_database):
    with psycopg.connect(postgres_database) as connection:
        assert connection.info.server_version // 10_000 == 15


@pytest.mark.services
def test_redis_is_real_and_private(redis_url):
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.ping()

"""Typed reading of environment variables and of `.env`; errors say what a variable takes."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

# A connection for each thread that may want one. The pool's attempts to connect double their
# distance for as long as `reconnect_timeout`: short, so that a database that is back is found soon.
# With a smaller DATABASE_POOL_SIZE some threads wait for others.
POSTGRESQL_POOL = {"min_size": 2, "max_size": 16, "timeout": 3.0, "reconnect_timeout": 2.0}

# A process that was stopped in the middle of a transaction holds its rows' locks no longer: below
# the ten seconds after which others take its streams over.
IDLE_TRANSACTION = "5s"


def load_env_file(path: Path) -> None:
    """Put the NAME=value lines of `path` into the environment; what is set there already wins."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            os.environ.setdefault(name.strip(), value.strip().strip("\"'"))


def envstr(name: str, default: str) -> str:
    return os.environ.get(name) or default


def envbool(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").lower()
    if value in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
        return value in ("1", "true", "yes", "on") if value else default
    raise ImproperlyConfigured(f"{name}={value!r}: allowed are True and False.")


def envint(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    try:
        return int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r}: a whole number is needed.") from None


def envlist(name: str, default: list[str]) -> list[str]:
    value = os.environ.get(name)
    if value is None:
        return default
    return [item.strip() for item in value.split(",") if item.strip()]


def envnetworks(name: str, default: str) -> list[IPv4Network | IPv6Network]:
    """Addresses and networks, separated by commas; `10.0.0.7` is a network of one."""
    try:
        return [ip_network(item) for item in envlist(name, default.split(","))]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name}: {error}; allowed are addresses and networks, as 10.0.0.7,172.16.0.0/12."
        ) from None


def env_like(name: str, default: Any) -> Any:
    """The variable as a value of the type that `default` has: a number, text or list of texts."""
    if isinstance(default, float):
        value = os.environ.get(name, "")
        try:
            return float(value) if value else default
        except ValueError:
            raise ImproperlyConfigured(f"{name}={value!r}: a number is needed.") from None
    if isinstance(default, int):
        return envint(name, default)
    if isinstance(default, list):
        return envlist(name, default)
    return envstr(name, default)


def postgresql_pool() -> dict[str, Any]:
    """psycopg's pool of one process. Raises ImproperlyConfigured."""
    size = envint("DATABASE_POOL_SIZE", int(POSTGRESQL_POOL["max_size"]))
    least = POSTGRESQL_POOL["min_size"]
    if size < least:
        raise ImproperlyConfigured(f"DATABASE_POOL_SIZE={size}: at least {least:g} are needed.")
    seconds = envint("DATABASE_POOL_SECONDS", int(POSTGRESQL_POOL["timeout"]))
    return POSTGRESQL_POOL | {"max_size": size, "timeout": seconds}


def redis_layer(url: str, prefix: str) -> dict[str, Any]:
    """The channel layer over the Redis at `url`, for CHANNEL_LAYERS.

    Its receiver comes back by itself, a second after each failure; the waits that redis-py adds of
    its own, up to ten seconds, would keep a process deaf while Redis is there again.
    """
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    host = {"address": url, "retry": Retry(NoBackoff(), 1)}
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [host], "prefix": prefix},
    }


def database_from_url(url: str, sqlite_path: Path) -> dict[str, Any]:
    """Django's settings for `url` (postgres://… or sqlite:///path); SQLite at the path when empty.

    Raises ImproperlyConfigured for any other scheme.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "sqlite"):
        return {
            "ENGINE": "streaming.backends.sqlite3",
            "NAME": unquote(parts.path) if parts.scheme else sqlite_path,
            "OPTIONS": {
                # A deferred transaction that upgrades its lock fails at once; this one waits.
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                # The page cache is each thread's own: 512 KiB.
                "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                "PRAGMA cache_size=-512;",
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": parts.port or "",
            # Under ASGI persistent connections leak; the pool takes their place.
            "CONN_MAX_AGE": 0,
            # One more round trip, and nobody is given a connection that a restart has cut.
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {
                "pool": postgresql_pool(),
                "options": f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION}",
                **dict(parse_qsl(parts.query)),
            },
        }
    raise ImproperlyConfigured(
        f"DATABASE_URL has the scheme {parts.scheme!r}; allowed are postgres:// and sqlite:///."
    )

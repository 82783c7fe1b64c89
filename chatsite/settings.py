"""Settings, read from the environment and from `.env`; see `.env.example` for every variable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from streaming.conf import DEFAULTS as STREAMING_DEFAULTS

from .env import (
    database_from_url,
    env_like,
    envbool,
    envint,
    envlist,
    envnetworks,
    envstr,
    load_env_file,
    redis_layer,
)

BASE_DIR = Path(__file__).resolve().parent.parent
load_env_file(Path(os.environ.get("ENV_FILE", BASE_DIR / ".env")))

# --- Security

DEBUG = envbool("DEBUG", False)
SECRET_KEY = envstr("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. `make run` writes one into .env; elsewhere set the variable "
            "SECRET_KEY to a random text of at least 50 characters, or DEBUG=True to develop."
        )
    SECRET_KEY = "insecure-development-key"
# First encrypts, all decrypt (users' own provider keys); never SECRET_KEY.
FIELD_ENCRYPTION_KEYS = envlist("FIELD_ENCRYPTION_KEYS", [])
ALLOWED_HOSTS = envlist("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = envlist("CSRF_TRUSTED_ORIGINS", [])
# Behind a proxy that ends TLS: HTTPS=True makes cookies secure and redirects.
HTTPS = envbool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = envint("SECURE_HSTS_SECONDS", 3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = envbool("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = envbool("SECURE_HSTS_PRELOAD", False)
SILENCED_SYSTEM_CHECKS = [
    # Both bind other hosts of the domain too: the operator's choice, not a defect of this site.
    "security.W005",
    "security.W021",
    # `User.email` is unique by a constraint on its lower case, which the check does not see.
    "auth.E003",
    "auth.W004",
]
# Whose X-Forwarded-For is believed; a proxy on this machine, unless told otherwise.
TRUSTED_PROXIES = envnetworks("TRUSTED_PROXIES", "127.0.0.0/8,::1")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Applications

INSTALLED_APPS = [
    # Only `runserver` needs the app: it costs every other command half a second and 20 MB, and
    # `serve` must choose its event loop before Daphne does.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "chatsite",
    "chatsite.accounts",
    "streaming",
    "conversations",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "chatsite.middleware.CompressedPagesMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "chatsite.middleware.ContentSecurityPolicyMiddleware",
    "chatsite.middleware.PrivatePagesMiddleware",
    "chatsite.middleware.Utf8Middleware",
    "chatsite.middleware.TimeZoneMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "chatsite.middleware.FormsOnlyMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "chatsite.accounts.middleware.guest_cookie",
    "chatsite.accounts.middleware.chosen_language",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "chatsite.urls"
ASGI_APPLICATION = "chatsite.asgi.application"
# The event loop of `manage.py serve`: uvloop where it is installed, or Python's own.
UVLOOP = envbool("UVLOOP", True)
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "chatsite.middleware.csp_nonce",
            ],
        },
    },
]

# --- Database: SQLite beside the code, or PostgreSQL by DATABASE_URL

DATABASES = {
    "default": database_from_url(envstr("DATABASE_URL", ""), BASE_DIR / "db.sqlite3"),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Doorbells between processes: Redis by REDIS_URL, else none are needed

REDIS_URL = envstr("REDIS_URL", "")
CHANNEL_LAYERS = {
    "default": redis_layer(REDIS_URL, envstr("REDIS_PREFIX", "chatsite"))
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

# --- The cache: counters of attempts, per process; the default of 300 would soon forget them

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# --- Accounts

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "accounts:sign-in"
LOGIN_REDIRECT_URL = "/"
# Called with the request of a visitor's first message; returns who is signed in then.
GUEST_SIGN_IN = "chatsite.accounts.guests.sign_in_guest"
# Counts what may be done a few times in a while: (purpose, request, person).attempt() refuses more.
THROTTLE = "chatsite.accounts.throttles.Throttle"
SESSION_COOKIE_AGE = envint("SESSION_DAYS", 180) * 86_400
EMAIL_BACKEND = envstr("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")
DEFAULT_FROM_EMAIL = envstr("DEFAULT_FROM_EMAIL", "chatsite@localhost")
EMAIL_HOST = envstr("EMAIL_HOST", "localhost")
EMAIL_PORT = envint("EMAIL_PORT", 25)
EMAIL_HOST_USER = envstr("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = envstr("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = envbool("EMAIL_USE_TLS", False)
# Guests whose last visit is older than this are pruned by `manage.py pruneguests`.
GUEST_RETENTION_DAYS = envint("GUEST_RETENTION_DAYS", 90)

# --- Languages and time

LANGUAGE_CODE = envstr("LANGUAGE_CODE", "en")
USE_I18N = True
# What a person may choose, each in its own words; each is complete, or is not here. `make messages`
# rebuilds their catalogues.
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "chatsite" / "locale"]
# What a visitor chose is kept in two cookies for a year; `base.html` reads that of the theme.
THEME_COOKIE_NAME = "theme"
LANGUAGE_COOKIE_AGE = 365 * 86_400
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
FORMAT_MODULE_PATH = "chatsite.formats"
TIME_ZONE = envstr("TIME_ZONE", "UTC")
USE_TZ = True

# --- Static files, served by the same process

STATIC_URL = "/static/"
STATIC_ROOT = Path(envstr("STATIC_ROOT", str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "chatsite.storage.StaticStorage"
    },
}

# --- Limits

# A form of our longest message, percent-encoded in UTF-8, fits; a larger body is refused.
MESSAGE_MAX_CHARS = envint("MESSAGE_MAX_CHARS", 32_000)
DATA_UPLOAD_MAX_MEMORY_SIZE = envint("MAX_BODY_BYTES", 2_500_000)
# Whether the model of a chat writes its title after the first answer; it costs one short request.
MODEL_TITLES = envbool("MODEL_TITLES", True)
# Seconds in which a deleted chat can be brought back, and is not purged.
UNDO_SECONDS = envint("UNDO_SECONDS", 60)
# Seconds between a SIGTERM and the drain, in which /readyz already answers 503.
SHUTDOWN_NOTICE_SECONDS = envint("SHUTDOWN_NOTICE_SECONDS", 0)
# Pages and forms that one process works on at once; the others wait in order.
MAX_CONCURRENT_REQUESTS = envint("MAX_CONCURRENT_REQUESTS", 8)

# --- streaming (defaults in streaming/conf.py)

# Every setting of streaming/conf.py may be set as STREAMING_<NAME>.
globals().update(
    {
        f"STREAMING_{name}": env_like(f"STREAMING_{name}", default)
        for name, default in STREAMING_DEFAULTS.items()
    }
)
if globals()["STREAMING_RUNNER"] == "procrastinate":
    # Its migrations speak PostgreSQL, so it is no part of any other installation.
    INSTALLED_APPS.append("procrastinate.contrib.django")
    PROCRASTINATE_ON_APP_READY = "streaming.tasks.prepare"
    PROCRASTINATE_WORKER_DEFAULTS = {
        "concurrency": globals()["STREAMING_MAX_CONCURRENT"],
        # A stream's row says what became of it; jobs leave no trace.
        "delete_jobs": "always",
        # New jobs are notified; this finds those of a moment without a listener.
        "fetch_job_polling_interval": 2.0,
        # Its supervisor sees to it that jobs end within the drain and their last commit.
        "shutdown_graceful_timeout": globals()["STREAMING_DRAIN_SECONDS"] + 15,
    }

# --- Providers

OPENAI_API_KEY = envstr("OPENAI_API_KEY", "")
OPENAI_BASE_URL = envstr("OPENAI_BASE_URL", "https://api.openai.com/v1")
# Models to list, comma-separated; empty: what the server's /models says.
OPENAI_MODELS = envlist("OPENAI_MODELS", [])
# The server writes on after a final assistant message, so a cut answer can be carried on.
OPENAI_CARRIES_ON = envbool("OPENAI_CARRIES_ON", False)
ANTHROPIC_API_KEY = envstr("ANTHROPIC_API_KEY", "")
ANTHROPIC_BASE_URL = envstr("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
ANTHROPIC_MODELS = envlist("ANTHROPIC_MODELS", [])
# The tiny demo model from packages: auto (where it is installed), on or off.
LOCAL_MODEL = envstr("LOCAL_MODEL", "auto")
ECHO_DELAY_SECONDS = envint("ECHO_DELAY_MILLISECONDS", 50) / 1000
# Tokens of context of every such model; 0: by family, else 4,096.
MODEL_CONTEXT_TOKENS = envint("MODEL_CONTEXT_TOKENS", 0)
# Providers to which people may add keys of their own: openai, anthropic; off.
OWN_KEYS = [name for name in envlist("OWN_KEYS", []) if name != "off"]
# Hosts that such a key may name as its server, or * for any with a public address; off.
OWN_BASE_URLS = [host.lower() for host in envlist("OWN_BASE_URLS", []) if host != "off"]
# Deadlines of an answer: connection, first token, silence between two reads, everything.
PROVIDER_CONNECT_SECONDS = env_like("PROVIDER_CONNECT_SECONDS", 10.0)
PROVIDER_FIRST_TOKEN_SECONDS = env_like("PROVIDER_FIRST_TOKEN_SECONDS", 120.0)
PROVIDER_IDLE_SECONDS = env_like("PROVIDER_IDLE_SECONDS", 30.0)
PROVIDER_TOTAL_SECONDS = env_like("PROVIDER_TOTAL_SECONDS", 900.0)
# The wait before a refused request is tried again, doubled for the next, if no Retry-After says it.
PROVIDER_RETRY_SECONDS = env_like("PROVIDER_RETRY_SECONDS", 1.0)
# "<provider>:<name>"; empty: the first of openai, anthropic, local, echo that is configured.
DEFAULT_MODEL = envstr("DEFAULT_MODEL", "")

# --- Logging: ids and states, never people's text or keys

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {"one_line_while_away": {"()": "chatsite.errors.OneLineWhileAway"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": envstr("LOG_LEVEL", "INFO")},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "django.request": {"filters": ["one_line_while_away"]},
        "channels_redis.pubsub": {"filters": ["one_line_while_away"]},
        "django.channels.server": {"level": "WARNING"},
        # A line for each socket otherwise.
        "uvicorn": {"level": "WARNING"},
        # Of procrastinate's lines for each job, the one that names its stream.
        "procrastinate": {"level": "WARNING"},
        "procrastinate.worker.worker": {"level": "INFO"},
        # That a worker is ready is told at every level: who starts it may wait for that line.
        "streaming.tasks": {"level": "INFO"},
    },
}

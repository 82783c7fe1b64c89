"""The project's settings as the tests need them: no `.env`, a fixed key, plain static files."""

from __future__ import annotations

import os

os.environ["ENV_FILE"] = os.devnull
os.environ.setdefault("SECRET_KEY", "tests-only-" + "x" * 50)
os.environ.setdefault("LOCAL_MODEL", "off")

from chatsite.settings import *  # noqa: F403

# In-process tests decide themselves what runs when.
STREAMING_RUNNER = "off"
DATABASES["default"]["TEST"] = {"NAME": None}  # noqa: F405
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ECHO_DELAY_SECONDS = 0

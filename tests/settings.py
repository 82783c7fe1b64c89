"""The project's settings as the tests need them: no `.env`, a fixed key, plain static files."""

from __future__ import annotations

import os
import tempfile

os.environ["ENV_FILE"] = os.devnull
os.environ.setdefault("SECRET_KEY", "tests-only-" + "x" * 50)
os.environ.setdefault("LOCAL_MODEL", "off")

from chatsite.settings import *  # noqa: F403

# In-process tests decide themselves what runs when.
STREAMING_RUNNER = "off"
_folder = tempfile.TemporaryDirectory(prefix="chatsite-tests-", ignore_cleanup_errors=True)
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # A file, because a database in memory locks whole tables between threads.
    DATABASES["default"]["TEST"] = {"NAME": f"{_folder.name}/test.sqlite3"}  # noqa: F405
    DATABASES["default"]["OPTIONS"]["init_command"] = (  # noqa: F405
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=OFF;"
    )
# Empty: no test needs collected files, and their server warns where the folder is missing.
STATIC_ROOT = _folder.name
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ECHO_DELAY_SECONDS = 0
# A test's provider is asked what the test asks.
MODEL_TITLES = False

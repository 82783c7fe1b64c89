"""Writes `.env` with fresh secrets, readable by its owner only; leaves an existing one alone."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

TEXT = """\
# Written at the first start; every variable is explained in .env.example.
DEBUG=False
# Signs sessions and tokens: whoever knows it can sign in as anybody.
SECRET_KEY={secret_key}
# Encrypts what users entrust to the site: keep a copy where the database's backups are not.
FIELD_ENCRYPTION_KEYS={encryption_key}
"""


def main(path: Path) -> None:
    text = TEXT.format(
        secret_key=secrets.token_urlsafe(50),
        encryption_key=base64.b64encode(secrets.token_bytes(32)).decode(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    sys.stdout.write(f"Wrote {path} with random secrets.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

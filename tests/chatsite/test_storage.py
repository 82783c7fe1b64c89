"""The names of static files, as `collectstatic` gives them."""

from __future__ import annotations

import re
from pathlib import Path

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command

MODULES = {"chats.js", "page.js", "reading.js", "scrolling.js", "writing.js"}


def test_modules_ask_for_each_other_by_names_with_a_hash(settings, tmp_path: Path) -> None:
    """A changed module has another name, also for those that a browser has kept."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "chatsite.storage.StaticStorage"}
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    asked = set()
    for name in ("chat.js", *(f"chat/{module}" for module in MODULES)):
        module = tmp_path / staticfiles_storage.stored_name(name)
        for url in re.findall(r'from "([^"]+)"', module.read_text()):
            found = (module.parent / url).resolve().relative_to(tmp_path.resolve())
            plain = re.sub(r"\.[0-9a-f]{12}\.js$", ".js", str(found))
            assert str(found) == staticfiles_storage.stored_name(plain)
            asked.add(plain)
    assert asked == {f"chat/{module}" for module in MODULES}

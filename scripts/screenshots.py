"""Takes the pictures of docs/screenshots anew, of a seeded site of its own.

    python -m scripts.screenshots           all of them; with names of states, those alone

The states stand in `scripts/states.py`. Needs Chromium and Playwright. The same
code makes the same pictures on one machine within an hour's reach of the same time of day; fonts
are the machine's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conversations.bench.chromium import chromium
from scripts.states import STATES, THEMES, State, seeded_site, shown

FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1200, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def file_of(state: State, size: str, theme: str) -> str:
    return f"{state.name}-{size}-{theme}.png"


def index_of() -> str:
    """All pictures on one page, as Markdown."""
    lines = [
        "# Pictures\n",
        "Made by `make screenshots`; `scripts/states.py` says how each page is brought about.\n",
    ]
    for state in STATES:
        lines.append(f"## {state.name}\n")
        names = [file_of(state, size, theme) for size in SIZES for theme in THEMES]
        lines.append(
            "\n".join(f'<img src="{name}" alt="{name[:-4]}" height="320">' for name in names)
        )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    wanted = sys.argv[1:]
    with seeded_site() as site, chromium() as browser:
        for state in STATES:
            if wanted and state.name not in wanted:
                continue
            for size, options in SIZES.items():
                for theme in THEMES:
                    with shown(browser, site, state, theme=theme, **options) as page:
                        page.screenshot(
                            path=FOLDER / file_of(state, size, theme), animations="disabled"
                        )
            sys.stdout.write(f"{state.name}\n")
            sys.stdout.flush()
    (FOLDER / "README.md").write_text(index_of(), encoding="utf-8")
    known = {file_of(state, size, theme) for state in STATES for size in SIZES for theme in THEMES}
    for file in FOLDER.glob("*.png"):
        if file.name not in known:
            file.unlink()


if __name__ == "__main__":
    main()

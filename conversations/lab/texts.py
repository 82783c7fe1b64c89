"""What the scripted provider says in the lab: Markdown whose every word is a numbered mark.

The mark `s07m0042` is word 42 of the answer named s07, so that a word which is lost, doubled, out
of order or of another answer is seen. The text has every shape of block, and characters outside
ASCII and outside the basic plane: offsets count code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle, islice, repeat

MARK = re.compile(r"([a-z]\w*?)m(\d{4,})")
# Each @ is a word.
BLOCKS = (
    "## @ @ é\n\n",
    "@ @ **@** @ *@* @ 한국어 @ @, @ `@` @ @ 😀 @.\n\n",
    "- @ @\n- @ [@](https://example.org/)\n  - @ @\n- @\n\n",
    "| @ | @ |\n| --- | --- |\n| @ | @ ü |\n| @ | @ |\n\n",
    "```python\n@ = @(@)\nif @ < @:\n    @\n```\n\n",
    "> @ @ @\n> @\n\n",
    "1. @ @\n2. @\n\n",
    "@ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @\n@ @ @ @ @ @ @ @ @ @ @ @ @ @\n\n",
)


def tokens(name: str, count: int) -> list[str]:
    """`count` tokens of the answer `name`, each with one mark; their join is the answer."""
    return list(islice(endless_tokens(name), count))


def endless_tokens(name: str, *, flat: bool = False) -> Iterator[str]:
    """The tokens of the answer `name` without end; `flat`: of one paragraph."""
    lead = "" if flat else _lead()
    for number, piece in enumerate(repeat(" ") if flat else _pieces()):
        yield f"{lead}{name}m{number:04d}{piece}"
        lead = ""


def _lead() -> str:
    return BLOCKS[0].partition("@")[0]


def _pieces() -> cycle[str]:
    """What stands behind each mark up to the next one, without end."""
    _, *pieces = "".join(BLOCKS).split("@")
    pieces[-1] += _lead()
    return cycle(pieces)

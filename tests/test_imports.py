"""No layer imports one above it; the import lines themselves are read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Lowest first: each may import itself and what stands before it.
LAYERS = ["streaming", "conversations", "chatsite"]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_nothing_above_it(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for line, module in imports(path)
        if module.split(".")[0] in above
    ]
    assert upward == []


def test_streaming_needs_django_and_channels_only():
    allowed = {"asgiref", "channels", "django", "streaming", "twisted"} | standard_library()
    # `tasks.py` is imported by procrastinate alone.
    queue = {"dispatch.py": {"procrastinate"}, "tasks.py": {"procrastinate", "psycopg"}}
    foreign = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / "streaming").rglob("*.py"))
        for line, module in imports(path)
        if module.split(".")[0] not in allowed | queue.get(path.name, set())
    ]
    assert foreign == []


def test_an_upward_import_would_be_seen(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "def f():\n    from chatsite.env import envstr\n    import conversations.models\n"
    )
    assert list(imports(file)) == [(2, "chatsite.env"), (3, "conversations.models")]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of each absolute import in the file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module


def standard_library() -> frozenset[str]:
    import sys

    return sys.stdlib_module_names

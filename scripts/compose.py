"""Reads `deploy/compose.yaml` as far as that file goes: commands, variables, times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

# ${NAME}, ${NAME:-default} and ${NAME:?what it should be}, as the compose file uses them.
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True)
class Service:
    """A service of the compose file, its variables filled in."""

    name: str
    command: list[str]
    environment: dict[str, str]
    stop_seconds: float


def read_compose(path: Path, variables: Mapping[str, str]) -> dict[str, Service]:
    """The services by name; `variables` is what `.env` would hold. Raises KeyError without one."""

    def fill(value: object) -> str:
        return VARIABLE.sub(lambda match: _value_of(match, variables), str(value))

    found = {}
    for name, service in yaml.safe_load(path.read_text())["services"].items():
        own = {key: fill(value) for key, value in service.get("environment", {}).items()}
        from_file = dict(variables) if "env_file" in service else {}
        found[name] = Service(
            name,
            [fill(part) for part in service["command"]],
            from_file | own,
            float(service.get("stop_grace_period", "10s").removesuffix("s")),
        )
    return found


def _value_of(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, text = match.groups()
    if variables.get(name):
        return variables[name]
    if kind == "-":
        return text
    raise KeyError(f"{name} is not set: {text}")

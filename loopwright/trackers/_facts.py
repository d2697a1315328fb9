"""What a tracker is told of a run, from the files of its folder alone."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._errors import LoopwrightError
from .._files import read_json
from .._record import CONFIG, ENVIRONMENT, read_run
from .._yaml import read_yaml
from ._flat import flatten
from ._tracker import RunFacts

_OF_CODE = ("commit", "branch", "repository", "dirty", "snapshot")


def read_facts(folder: Path) -> RunFacts:
    """The facts of the run in a folder, of a living or a dead one; ``RunError`` where there is none."""
    info = read_run(folder)
    config = _config(folder)
    return RunFacts(
        folder=folder,
        id=str(info.get("id", "")),
        name=folder.resolve().name,
        parameters=flatten(config) or {},
        config=config,
        tags=_tags(info, _environment(folder)),
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        return dict(read_yaml(path).values) if path.exists() else {}
    except (LoopwrightError, OSError):
        return {}


def _environment(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / ENVIRONMENT)
    except (OSError, ValueError):
        return {}


def _tags(info: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    """Only what is known, as texts."""
    code, packages = environment.get("code"), environment.get("packages")
    gpus = environment.get("gpus")
    found: dict[str, Any] = {
        "loopwright.run": info.get("id"),
        "host": info.get("host"),
        "seed": info.get("seed"),
        "created": info.get("created"),
        "command": _shown(info.get("command")),
        "lives": len(info.get("lives") or []) + 1,
        **({key: code.get(key) for key in _OF_CODE} if isinstance(code, Mapping) else {}),
        "torch": packages.get("torch") if isinstance(packages, Mapping) else None,
        "gpu": gpus[0].get("name") if isinstance(gpus, list) and gpus and isinstance(gpus[0], Mapping) else None,
    }
    return {key: str(value) for key, value in found.items() if value is not None}


def _shown(command: Any) -> str | None:
    return shlex.join(map(str, command)) if isinstance(command, list) else None

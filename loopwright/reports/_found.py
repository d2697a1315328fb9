"""Which folders are runs, of all that was given. Opens no file of theirs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._errors import RunError
from .._record import INSIDE, METRICS, RUN

SWEEP = "sweep.json"


@dataclass(frozen=True)
class Found:
    """The folders of runs with the names that they are shown under, and the folders of sweeps."""

    runs: dict[str, Path]
    sweeps: tuple[Path, ...]


def find_runs(given: Sequence[str | os.PathLike[str]]) -> Found:
    """Every run in what was given: run folders, or folders that hold them at any depth. May find none.

    Raises:
        RunError: nothing is there under a name that was given.
    """
    runs: dict[Path, Path] = {}  # resolved -> as given: a run that was named twice is one
    sweeps: dict[Path, Path] = {}
    for folder in map(Path, given):
        if not folder.is_dir():
            raise RunError(f"{folder} is no folder: give folders of runs, or a folder that holds some")
        for path in _walk(folder):
            if _is_run(path):
                runs.setdefault(path.resolve(), path)
            if (path / SWEEP).is_file():
                sweeps.setdefault(path.resolve(), path)
    return Found(_named(list(runs.values())), tuple(sweeps.values()))


def _walk(folder: Path) -> Iterator[Path]:
    """The folder and those below it; not into those of a run that are parts of it."""
    for path, below, _ in os.walk(folder):
        inside = INSIDE if _is_run(Path(path)) else ()
        below[:] = sorted(name for name in below if name not in inside and not name.startswith("."))
        yield Path(path)


def _is_run(folder: Path) -> bool:
    return os.path.lexists(folder / RUN) or os.path.lexists(folder / METRICS)


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """A name for each: its path without what all have in common."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    if not paths:
        return {}
    common = os.path.commonpath([path.parent for path in paths])
    return {os.path.relpath(path, common): folder for path, folder in zip(paths, folders, strict=True)}

"""Which sheets of pictures a run's record names, and which of them are there. Opens none."""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._record import PICTURES_FOLDER

_MOST = 10_000  # lines that are looked at


class SheetFile(NamedTuple):
    """A sheet of pictures, and the step that it is of."""

    step: int
    path: Path


def sheets_of(folder: Path, lines: Iterable[Mapping[str, Any]]) -> dict[str, tuple[SheetFile, ...]]:
    """The sheets of each name that are there, oldest first. A path that leads elsewhere is not believed."""
    found: dict[str, dict[int, SheetFile]] = {}
    for line, _ in zip(lines, range(_MOST), strict=False):
        step, name, file = line.get("step"), line.get("name"), line.get("file")
        if not isinstance(step, int) or not isinstance(name, str) or not isinstance(file, str):
            continue
        if _is_own(folder, file):
            found.setdefault(name, {})[step] = SheetFile(step, folder / file)
    return {name: tuple(sheets[step] for step in sorted(sheets)) for name, sheets in found.items()}


def some(sheets: Sequence[SheetFile], most: int) -> list[SheetFile]:
    """The first, the newest, and others spread between them.

    >>> [one.step for one in some([SheetFile(step, Path()) for step in range(9)], 3)]
    [0, 4, 8]
    """
    if len(sheets) <= most:
        return list(sheets)
    if most < 2:
        return [sheets[-1]]
    return [sheets[round(place * (len(sheets) - 1) / (most - 1))] for place in range(most)]


def _is_own(run: Path, file: str) -> bool:
    path = Path(file)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] != (PICTURES_FOLDER,) or path.suffix != ".png":
        return False
    try:
        places = [run.joinpath(*path.parts[: number + 1]) for number in range(len(path.parts))]
        modes = [os.lstat(place).st_mode for place in places]
        return stat.S_ISREG(modes[-1]) and not any(map(stat.S_ISLNK, modes))
    except (OSError, ValueError):
        return False

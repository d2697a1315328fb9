"""The runs below a folder, as a table. Reads their records only; imports no torch."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ._files import strict_number
from ._progress import seconds_text, value_text
from ._record import INSIDE, RUN, START
from ._run_facts import RunFacts, run_facts
from ._run_state import look_at

COLUMNS = ("run", "state", "epoch", "step", "best", "last", "left", "started", "took")
_LEFT_OUT = ("started", "step", "took", "last", "best", "left", "epoch")  # where there is no room, in this order
_LEAST = 8  # letters of a run's name


def list_runs(root: str | Path) -> list[dict[str, Any]]:
    """What each run says of itself, newest first. One that died without a word is "killed"."""
    found = [{**look_at(folder), "folder": str(folder)} for folder in sorted(_folders(Path(root)))]
    return sorted(found, key=lambda info: str(info.get("started", "")), reverse=True)


def runs_as_json(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The facts of each, for other programs; see ``RunFacts``."""
    return [strict_number(asdict(run_facts(info))) for info in runs]


def runs_table(runs: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """A table for a terminal: one line a run, whatever its record says.

    Args:
        width: letters of a line, at most. Columns that do not fit are left out, then names are shortened.
    """
    rows = [COLUMNS, *(tuple(map(_shown, _row(run_facts(info)))) for info in runs)]
    widths = {name: max(len(row[place]) for row in rows) for place, name in enumerate(COLUMNS)}
    kept = _that_fit(widths, width)
    if width is not None:
        widths["run"] = min(widths["run"], max(_LEAST, width - sum(widths[name] + 2 for name in kept[1:])))
    lines = [
        "  ".join(
            _cut(cell, widths[name]).ljust(widths[name])
            for name, cell in zip(COLUMNS, row, strict=True)
            if name in kept
        )
        for row in rows
    ]
    return "\n".join(line.rstrip()[:width] for line in lines)


def _folders(root: Path) -> Iterator[Path]:
    """Folders of runs, and of starts that came to none; copies of runs (``replay``, ``reproduce``) are not listed."""
    for place, folders, files in os.walk(root):
        if RUN in files or START in files:
            yield Path(place)
            folders[:] = [name for name in folders if name not in INSIDE]


def _that_fit(widths: dict[str, int], width: int | None) -> list[str]:
    kept: list[str] = list(COLUMNS)
    for name in _LEFT_OUT:
        needed = sum(widths[column] + 2 for column in kept) - 2
        if width is None or needed <= width or needed - widths["run"] + min(widths["run"], 24) <= width:
            break
        kept.remove(name)
    return kept


def _row(facts: RunFacts) -> tuple[str, ...]:
    named = f"{facts.metric} " if facts.metric else ""
    return (
        facts.run,
        facts.state,
        "" if facts.epoch is None else f"{facts.epoch:g}" + (f"/{facts.epochs}" if facts.epochs else ""),
        "" if facts.step is None else f"{facts.step}" + (f"/{facts.steps}" if facts.steps else ""),
        "" if facts.best is None else named + value_text(facts.best),
        "" if facts.last is None else (named if facts.best is None else "") + value_text(facts.last),
        "" if facts.seconds_left is None else seconds_text(facts.seconds_left),
        (facts.started or "")[:16].replace("T", " "),
        "" if facts.seconds is None else seconds_text(facts.seconds),
    )


def _cut(cell: str, width: int) -> str:
    """The end of a name says more than its beginning."""
    return cell if len(cell) <= width else "…" + cell[len(cell) - width + 1 :]


def _shown(cell: str) -> str:
    """On one line and of harmless letters: a terminal takes some texts for commands."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cell)

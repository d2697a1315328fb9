"""The runs below a folder, as a table. Reads their records only; imports no torch."""

from pathlib import Path
from typing import Any

from ._errors import RunError
from ._record import REPLAYS, RUN, is_held, read_run

_LARGEST = 1e300  # a whole number of JSON may have thousands of digits, which no float has
COLUMNS = ("run", "state", "step", "epochs", "best", "started")


def list_runs(root: str | Path) -> list[dict[str, Any]]:
    """What each run says of itself, newest first. One that died without a word is "killed"."""
    found: list[dict[str, Any]] = []
    for path in sorted(Path(root).rglob(RUN)):
        if REPLAYS in path.parent.relative_to(root).parts:  # copies, of runs that are listed
            continue
        try:
            info = read_run(path.parent)
        except RunError as error:
            info = {"state": "unreadable", "reason": str(error)}
        found.append({**info, "folder": str(path.parent), "state": true_state(path.parent, info)})
    return sorted(found, key=lambda info: str(info.get("started", "")), reverse=True)


def true_state(folder: Path, info: dict[str, Any]) -> str:
    """The state that is written, unless it says "running" and nobody holds the folder any more."""
    state = str(info.get("state", "?"))
    return "killed" if state == "running" and not is_held(folder) else state


def runs_table(runs: list[dict[str, Any]]) -> str:
    """A table for a terminal: one line a run, whatever its record says."""
    rows = [COLUMNS, *(tuple(map(_shown, _row(info))) for info in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(info: dict[str, Any]) -> tuple[str, ...]:
    best = ", ".join(map(_measured, info["best"].items())) if isinstance(info.get("best"), dict) else ""
    started = str(info.get("started", ""))[:16].replace("T", " ")
    epochs = str(info.get("epochs_done", "")) + (f" of {info['length']}" if info.get("length") else "")
    return (info["folder"], info["state"], str(info.get("step", "")), epochs, best, started)


def _measured(item: tuple[str, Any]) -> str:
    name, value = item
    return f"{name} {value:.4g}" if isinstance(value, int | float) and abs(value) <= _LARGEST else f"{name} {value}"


def _shown(cell: str) -> str:
    """On one line and of harmless letters: a terminal takes some texts for commands."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cell)

"""``sync``: bring a tracker to where a run's record is. The run may be finished, killed, or years old."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .._errors import RunError
from .._lock import holder
from .._record import METRICS, RUN, read_run
from ._by_name import Asked, make_trackers
from ._mirror import PICTURES, Mirror


@dataclass(frozen=True)
class Synced:
    """What ``sync`` did."""

    folder: Path
    tracker: str
    lines: int  # of metrics.jsonl that the tracker did not have
    pictures: int
    state: str  # of the run

    def __str__(self) -> str:
        pictures = f" and {self.pictures:,} pictures" if self.pictures else ""
        what = f"{self.lines:,} lines{pictures} handed over" if self.lines or self.pictures else "nothing was missing"
        return f"{self.tracker:<12}{self.folder}: {what}; the run is {self.state}"


def sync(run: str | os.PathLike[str], to: Asked) -> Synced:
    """Hand over what a tracker lacks of a run's record: nothing twice, and everything where it has nothing.

    Where the tracker is, is known from the run's folder (``mirrors/``). What stands there and is not in the record, because
    the record was cut back since or is that of another run, is replaced.

    Args:
        run: its folder. If the run goes on at this moment, its state stays open.
        to: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``, a mapping with a name and settings, or a ``Tracker``.

    Raises:
        RunError: it is no run, or the run itself hands over to this tracker just now.
        MissingExtra: the tracker's package is not installed.

    >>> import json, tempfile
    >>> folder = Path(tempfile.mkdtemp(), "woof")
    >>> folder.mkdir()
    >>> _ = (folder / "run.json").write_text(json.dumps({"id": "4711", "state": "finished"}))
    >>> line = {"kind": "evaluation", "step": 9, "epoch": 0, "val/top1": 0.7}
    >>> _ = (folder / "metrics.jsonl").write_text(json.dumps(line) + "\\n")
    >>> sync(folder, "tensorboard").lines, sync(folder, "tensorboard").lines
    (1, 0)
    """
    folder = Path(run)
    if not (folder / RUN).is_file():
        raise RunError(f"{folder} is no run: there is no {RUN} in it")
    (tracker,) = make_trackers(to)
    state = _state(folder)
    mirror = Mirror(folder, tracker)
    try:
        mirror.open()
        if state != "running" and mirror.is_ahead:
            mirror.begin_anew()
        while mirror.hand_over():
            pass
        if state != "running":
            mirror.close(state)
    finally:
        mirror.leave()
    handed = mirror.handed_over
    return Synced(folder, tracker.name, handed[METRICS], handed[PICTURES], state)


def sync_all(runs: list[str], to: Asked, say: Callable[[str], object]) -> None:
    """The same for several runs, or for all below a folder."""
    for folder in [found for run in runs for found in _runs_in(Path(run))]:
        say(str(sync(folder, to)))


def _runs_in(folder: Path) -> list[Path]:
    if (folder / RUN).is_file() or not folder.is_dir():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{RUN}"))
    if not found:
        raise RunError(f"there is no run in {folder}")
    return found


def _state(folder: Path) -> str:
    """What run.json says; of a run that says it goes on and is held by nobody: killed."""
    state = str(read_run(folder).get("state", "?"))
    return "killed" if state == "running" and holder(folder) is None else state

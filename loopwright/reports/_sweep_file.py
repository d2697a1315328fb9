"""What a sweep.json says beside its runs: which trials were pruned or never began, and how much each setting matters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._files import read_json
from ._found import SWEEP
from ._one_run import OneRun

TRIALS = "trials"
_SAID = ("pruned", "failed", "waiting")  # what a sweep knows better than the run, which only knows that it was stopped


@dataclass(frozen=True)
class Share:
    """What one setting explains of the differences between trials: ``share`` 0 to 1, None where nobody can say."""

    key: str
    share: float | None
    p: float | None
    verdict: str


@dataclass(frozen=True)
class SweepFile:
    """One sweep: the importance of its settings, and what it says of its trials, by their folders."""

    folder: Path
    method: str
    metric: str | None
    mode: str | None
    importance: tuple[Share, ...]
    trials: dict[Path, tuple[str, str]]  # resolved folder -> state, reason
    note: str = ""


def read_sweep(folder: Path) -> SweepFile:
    """What stands in a folder's sweep.json; where it cannot be read, that is its note."""
    try:
        said = read_json(folder / SWEEP)
    except (OSError, ValueError) as error:
        return SweepFile(folder, "", None, None, (), {}, note=f"{folder / SWEEP} cannot be read ({error})")
    mode = said.get("mode")
    metric = said.get("metric")
    return SweepFile(
        folder, str(said.get("method", "")), metric if isinstance(metric, str) else None,
        mode if mode in ("min", "max") else None, tuple(_shares(said.get("importance"))),
        dict(_trials(folder, said.get("trials"))),
    )  # fmt: skip


def with_sweeps(runs: Sequence[OneRun], sweeps: Sequence[SweepFile]) -> list[OneRun]:
    """The runs as their sweeps know them, and the trials that have no run yet."""
    known = {folder: said for sweep in sweeps for folder, said in sweep.trials.items()}
    there = {one.folder.resolve(): one for one in runs}
    told = [_told(one, known.get(folder)) for folder, one in there.items()]
    missing = [OneRun(folder.name, folder, *said) for folder, said in known.items() if folder not in there]
    return told + missing


def _told(one: OneRun, said: tuple[str, str] | None) -> OneRun:
    if said is None or said[0] not in _SAID or one.state in ("running", "finished"):
        return one
    return replace(one, state=said[0], reason=said[1] or one.reason)


def _trials(folder: Path, trials: Any) -> Iterator[tuple[Path, tuple[str, str]]]:
    for trial in trials if isinstance(trials, list) else ():
        name = trial.get("id") if isinstance(trial, dict) else None
        if isinstance(name, str) and name.isalnum():
            said = str(trial.get("state", "?")), " ".join(str(trial.get("reason") or "").split())
            yield (folder / TRIALS / name).resolve(), said


def _shares(rows: Any) -> Iterator[Share]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("key"), str):
            share, p = row.get("share"), row.get("p")
            yield Share(row["key"], _fraction(share), _fraction(p), str(row.get("verdict", "")))


def _fraction(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None

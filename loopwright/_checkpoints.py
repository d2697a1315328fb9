"""Checkpoints: folders that are complete or absent, and an index that says which are there. Knows nothing of the loop.

    checkpoints/
      index.json        written last; what it does not name does not exist
      step-000500/      manifest.json (sizes, checksums) and one file an object: model.pt, optimizer.pt, ...
                        of an object with split tensors model.0.pt, model.1.pt, ... too: the parts of the ranks

A save writes aside, flushes, renames, flushes the folder, then replaces the index. A kill at any instant leaves the
old index or the new one, and both name complete folders only; leftovers are swept at the next save. In the background
the same is done by a thread, from a copy of the states.
"""

import contextlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from ._checkpoint import check_checkpoint, is_name, read_states, write_manifest, write_objects, write_parts, write_trees
from ._distributed import Ranks, all_of
from ._errors import CheckpointError
from ._files import make_folder, read_json, sync_folder, write_json
from ._split import Take, take_whole
from ._split_states import Apart, Plan, apart, local_state, plan_of
from ._staging import Staging
from ._state import plain_state
from ._writer import Writer

FORMAT = 1  # of the index
_SAVED_NAME = re.compile(r"step-\d{6,}(\.\d+)?|\.step-\d{6,}(\.\d+)?\.\d+\.tmp|\.index\.json\.\d+\.tmp")
Mode = Literal["min", "max"]


class Team(NamedTuple):
    """The ranks that save together, each its parts of split tensors, and how they take them back."""

    ranks: Ranks  # with a line of their own
    take: Take


@dataclass(frozen=True)
class Entry:
    """One checkpoint as the index knows it: its folder's name, when in training it was taken, and its metrics."""

    name: str
    step: int
    epoch: float
    saved_at: float  # seconds since 1970
    metrics: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """A folder of checkpoints that survives a kill at any instant.

    Args:
        folder: created when the first checkpoint is saved.
        keep_last: how many of the newest to keep, at least 1.
        keep_best: how many of the best to keep for each metric that was saved with a direction.
        keep: instead of the two numbers, a function from all entries (oldest first) to those to keep; the newest is
            always kept.
        written: called in the background thread whenever a save in the background has ended, well or not.
        writes: False for a process beside the one that writes: it reads, and its saves do nothing.
        team: where tensors are split over ranks: each of them calls ``save``, and writes its parts.

    >>> import tempfile
    >>> saved = Checkpoints(tempfile.mkdtemp() + "/checkpoints")
    >>> _ = saved.save({"model": {"w": torch.ones(2)}}, step=10, metrics={"val/top1": 0.5}, best={"val/top1": "max"})
    >>> saved.load("latest")["model"]["w"]
    tensor([1., 1.])
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        keep: Callable[[Sequence[Entry]], Iterable[Entry]] | None = None,
        written: Callable[[], object] = lambda: None,
        writes: bool = True,
        team: Team | None = None,
    ) -> None:
        if keep_last < 1 or keep_best < 0:
            raise ValueError(f"keep_last must be 1 or more and keep_best 0 or more. Found: {keep_last}, {keep_best}")
        self.folder, self._writes, self._team = Path(folder), writes, team
        self._keep_last, self._keep_best, self._keep = keep_last, keep_best, keep
        self.entries: list[Entry] = []
        self.modes: dict[str, Mode] = {}
        self._writer, self._staging = Writer(written), Staging()
        self._pending: Entry | None = None  # being written in the background
        self._doubtful: set[str] = (
            set()
        )  # an index that could not be flushed names them: after a power cut it may be there
        self._read_index()

    @property
    def latest(self) -> Entry | None:
        """The newest complete checkpoint, or None."""
        return self.entries[-1] if self.entries else None

    @property
    def is_writing(self) -> bool:
        """Whether a save in the background goes on."""
        return self._writer.is_busy

    @property
    def known(self) -> list[Entry]:
        """All entries, oldest first, and the one that is being written."""
        return [*self.entries, self._pending] if self._pending is not None else self.entries

    def best(self, metric: str | None = None) -> Entry | None:
        """The best checkpoint by a metric (by default the first one that was saved with a direction), or None.

        One that is still being written counts.
        """
        return self._best_of(self.known, metric or next(iter(self.modes), ""))

    def is_best(self, metric: str, value: float, mode: Mode, k: int = 1) -> bool:
        """Whether a value would be among the best ``k``. NaN never is; an equal value does not displace an older one."""
        if math.isnan(value):
            return False
        sign = 1 if mode == "max" else -1
        rivals = [e.metrics[metric] for e in self.known if not math.isnan(e.metrics.get(metric, math.nan))]
        return sum(sign * rival >= sign * value for rival in rivals) < k

    def clear(self) -> None:
        """Remove all checkpoints and the index."""
        self.settle()
        self.entries, self.modes, self._doubtful = [], {}, set()
        if self.folder.is_dir():
            (self.folder / "index.json").unlink(missing_ok=True)
            sync_folder(self.folder)  # an index must not come back without its checkpoints
        self._sweep()

    def save(
        self,
        objects: Mapping[str, Any],
        *,
        step: int,
        epoch: float = 0,
        metrics: Mapping[str, float] | None = None,
        best: Mapping[str, Mode] | None = None,
        background: bool = False,
        first: Callable[[], object] = lambda: None,
        check: Callable[[Mapping[str, Any]], object] = lambda states: None,
    ) -> Entry:
        """Save states as one checkpoint and make it the latest.

        Args:
            objects: names to states (tensors, plain values and containers of them); each becomes one file.
            metrics: measured at this very step, with these very weights.
            best: for which of the metrics a best checkpoint is kept, and its direction.
            background: copy the states and come back; ``settle`` waits until they are written, byte for byte the same.
            first: called before anything is written, in the background too: other files that must be on disk by then.
            check: called with the states before that, in the background too; if it raises, nothing is saved.

        Raises:
            OSError: it could not be written (in the background: from ``settle``); what was saved before is as good as ever.
        """
        self.settle()
        entry = Entry(self._free_name(step), step, epoch, time.time(), dict(metrics or {}))
        if not self._writes and self._team is None:
            return entry
        states = {name: plain_state(state, name) for name, state in objects.items()}
        plans: dict[str, Plan] = {}
        if self._team is not None:
            plans = {name: plan for name, state in states.items() if (plan := plan_of(state))}
            states = {name: local_state(state) for name, state in states.items()}

        def save(states: Mapping[str, Any]) -> None:
            def begin() -> None:
                check(states)
                first()

            objects = {name: apart(state, plans.get(name, {})) for name, state in states.items()}
            self._commit(entry, objects, best or {}, begin)

        if not background:
            save(states)
            return entry
        copies = self._staging.copy(states)
        self._pending = entry
        self.modes.update(best or {})
        self._writer.begin(lambda: save(copies))
        return entry

    def settle(self) -> None:
        """Wait for a save in the background, and raise what went wrong with it."""
        try:
            self._writer.wait()
        finally:
            self._pending = None

    def _commit(
        self,
        entry: Entry,
        objects: Mapping[str, Apart],
        best: Mapping[str, Mode],
        begin: Callable[[], object],
    ) -> None:
        if self._team is None:
            begin()
            self._write_folder(self._begin_folder(entry), entry, objects)
        elif not self._write_together(entry, objects, begin, self._team.ranks):
            return
        modes = self.modes | dict(best)
        kept = self._kept([*self.entries, entry], modes)
        try:
            self._write_index(kept, modes)
        except BaseException:
            if self._is_named_on_disk(entry):
                self._doubtful.add(entry.name)
            raise
        self.entries, self.modes, self._doubtful = kept, modes, set()
        self._sweep()

    def load(self, which: str = "latest", *, only: str | None = None, device: str | torch.device = "cpu") -> Any:
        """The states of one checkpoint, checked against their checksums.

        Args:
            which: ``"latest"``, ``"best"``, ``"best:val/top1"`` or a folder's name.
            only: the name of one object, to read no other file.
            device: where its tensors go; they may have been saved on any other.
        """
        self.settle()
        take = take_whole if self._team is None else self._team.take
        return read_states(self.folder / self.find(which).name, only, device, take)

    def newest_sound(self) -> tuple[Entry, list[str]]:
        """The newest checkpoint whose files are what they were when it was saved, and what is wrong with newer ones.

        These are forgotten; their folders are removed by the next save.

        Raises:
            CheckpointError: none is sound.
        """
        wrong: list[str] = []
        for entry in reversed(self.entries):
            try:
                check_checkpoint(self.folder / entry.name)
            except CheckpointError as error:
                wrong.append(str(error))
                continue
            self.entries = self.entries[: self.entries.index(entry) + 1]
            return entry, wrong
        raise CheckpointError("no checkpoint can be used:\n" + "\n".join(wrong or [f"{self.folder} has none"]))

    def find(self, which: str) -> Entry:
        """The entry that a name stands for; ``CheckpointError`` lists what is there when there is none."""
        if which == "latest":
            entry = self.latest
        elif which == "best" or which.startswith("best:"):
            entry = self.best(which.partition(":")[2] or None)
        else:
            entry = next((e for e in self.entries if e.name == which), None)
        if entry is None:
            names = ", ".join(e.name for e in self.entries) or "none yet"
            raise CheckpointError(f"{self.folder} has no checkpoint {which!r}; it holds: {names}")
        return entry

    def _best_of(self, entries: Sequence[Entry], metric: str) -> Entry | None:
        return next(iter(_ranked(entries, metric, self.modes.get(metric, "max"))), None)

    def _kept(self, entries: list[Entry], modes: Mapping[str, Mode]) -> list[Entry]:
        if self._keep is not None:
            chosen = list(self._keep(tuple(entries)))
        else:
            chosen = entries[-self._keep_last :]
            for metric, mode in modes.items():
                chosen = [*chosen, *_ranked(entries, metric, mode)[: self._keep_best]]
        names = {entry.name for entry in chosen} | {entries[-1].name}
        return [entry for entry in entries if entry.name in names]

    def _free_name(self, step: int) -> str:
        name, taken = f"step-{step:06d}", {entry.name for entry in self.entries} | self._doubtful
        return next(n for n in (name, *(f"{name}.{i}" for i in range(1, len(taken) + 2))) if n not in taken)

    def _begin_folder(self, entry: Entry) -> Path:
        """A folder aside, to be renamed when all is in it."""
        if not self.entries or not self.folder.is_dir():
            make_folder(self.folder)
        self._sweep()
        aside = self.folder / f".{entry.name}.{os.getpid()}.tmp"
        aside.mkdir()
        return aside

    def _write_folder(self, aside: Path, entry: Entry, objects: Mapping[str, Apart]) -> None:
        try:
            self._complete(aside, entry, write_objects(aside, objects))
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _complete(self, aside: Path, entry: Entry, files: Mapping[str, Any]) -> None:
        """The manifest, then the name: from here on it may be named by an index."""
        write_manifest(aside, entry.step, entry.epoch, files)
        os.rename(aside, self.folder / entry.name)
        sync_folder(self.folder)

    def _write_together(
        self, entry: Entry, objects: Mapping[str, Apart], begin: Callable[[], object], ranks: Ranks
    ) -> bool:
        """All ranks write their parts at once. Rank 0 makes the folder before, and completes it when all are on disk; where
        one could not write, none of it is left. Whether this rank is the one to write the index."""
        made: list[Path] = []

        def prepare() -> str:
            begin()
            made.extend([self._begin_folder(entry)] if self._writes else [])
            return str(made[0]) if made else ""

        def write(aside: Path) -> dict[str, dict[str, int]]:
            own = write_parts(aside, ranks.position.rank, objects)
            return own | (write_trees(aside, objects) if self._writes else {})

        try:
            told = all_of(ranks, prepare)
            files = None if told is None else all_of(ranks, lambda: write(Path(told[0])))
            if files is None or not made:
                return False
            self._complete(made[0], entry, {name: facts for written in files for name, facts in written.items()})
            return True
        except BaseException:
            for aside in made:
                shutil.rmtree(aside, ignore_errors=True)
            raise

    def _sweep(self) -> None:
        """Remove what the index does not name: leftovers of a killed save, and checkpoints no longer kept.

        Only names that a save makes: whatever else lies in the folder is somebody's.
        """
        if not self.folder.is_dir():
            return
        named = {entry.name for entry in self.entries} | self._doubtful
        for path in self.folder.iterdir():
            if path.name not in named and _SAVED_NAME.fullmatch(path.name):
                with contextlib.suppress(OSError):  # a file manager looking at it is no reason to stop training
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _write_index(self, entries: list[Entry], modes: Mapping[str, Mode]) -> None:
        index = {
            "format": FORMAT,
            "latest": entries[-1].name,
            "best": {
                metric: ranked[0].name for metric, mode in modes.items() if (ranked := _ranked(entries, metric, mode))
            },
            "modes": dict(modes),
            "checkpoints": [asdict(e) | {"metrics": _json_metrics(e.metrics)} for e in entries],
        }
        write_json(self.folder / "index.json", index)

    def _is_named_on_disk(self, entry: Entry) -> bool:
        try:
            return any(found["name"] == entry.name for found in read_json(self.folder / "index.json")["checkpoints"])
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError):
            return True  # who knows

    def _read_index(self) -> None:
        path = self.folder / "index.json"
        if not path.exists():
            return
        try:
            index = read_json(path)
            if index["format"] != FORMAT:
                raise CheckpointError(f"{path} has format {index['format']}; this loopwright reads format {FORMAT}")
            entries = [_read_entry(e, self.folder) for e in index["checkpoints"]]
            modes = dict(index["modes"])
            if not set(modes.values()) <= {"min", "max"}:
                raise ValueError(f"a mode is 'min' or 'max', not one of {[*modes.values()]}")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            raise CheckpointError(
                f"{path} is not an index of checkpoints ({error}): restore it, or give another folder"
            ) from None
        self.entries, self.modes = entries, modes


def _ranked(entries: Sequence[Entry], metric: str, mode: Mode) -> list[Entry]:
    """Best first; of equals the older one first; an entry without the metric, or with NaN, does not take part."""
    sign = 1 if mode == "max" else -1
    measured = [e for e in entries if not math.isnan(e.metrics.get(metric, math.nan))]
    return sorted(measured, key=lambda e: (-sign * e.metrics[metric], e.step))


def _json_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def _read_entry(facts: Mapping[str, Any], folder: Path) -> Entry:
    """An entry of the index, which may be a stranger's: a name is that of a folder in this one, a number is a number."""
    entry = Entry(**{**facts, "metrics": _float_metrics(facts["metrics"])})
    if not isinstance(entry.name, str) or not is_name(entry.name):
        raise ValueError(f"{entry.name!r} is not the name of a checkpoint")
    if os.path.islink(folder / entry.name):
        raise ValueError(f"{entry.name} is a link: put the folder itself there")
    if type(entry.step) is not int or not all(type(n) in (int, float) for n in (entry.epoch, entry.saved_at)):
        raise ValueError(f"{entry.name} has a step, epoch or time that is no number")
    return entry


def _float_metrics(metrics: Mapping[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}

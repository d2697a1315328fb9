"""``Keeper``: saves a run at a boundary and brings a resumed one back to it. Decides neither when nor whether to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._agenda import Agenda
from ._checkpoints import Checkpoints, Entry, Mode
from ._cursor import Cursor, Place
from ._errors import CheckpointError, RunError
from ._ledger import Ledger
from ._record import Record
from ._registry import Registry
from ._seed import capture_rng, restore_rng
from ._state import Stateful


class Keeper:
    """Holds what must survive: the user's registered objects, and the loop's own parts.

    Args:
        parts: the loop's own, by name: they are saved and restored like registered objects, in the file ``run.pt``.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        record: Record,
        cursor: Cursor,
        agenda: Agenda,
        ledger: Ledger,
        parts: Mapping[str, Stateful],
    ) -> None:
        self.registry = Registry()
        self.resumed_from: Entry | None = None
        self.saved_step: int | None = None
        self._checkpoints, self._record = checkpoints, record
        self._cursor, self._agenda, self._ledger = cursor, agenda, ledger
        self._parts = {"ledger": ledger, **parts}
        self._best: dict[str, Mode] = {}  # metrics whose best checkpoint is due
        self._judged: dict[str, float] = {}  # their values
        self._best_version = 0  # of the weights that were measured

    # ---- saving ----------------------------------------------------------------------------------------------------

    @property
    def best_is_due(self) -> bool:
        return bool(self._best)

    def mark_best(self, metric: str, value: float, mode: Mode) -> bool:
        """Make the next checkpoint the best one by a metric, if it is."""
        if not self._checkpoints.is_best(metric, value, mode):
            return False
        self._best[metric], self._judged[metric] = mode, value
        self._best_version = self.registry.weights_version()
        self._agenda.hurry()
        return True

    def save(self, place: Place, source: Stateful | None) -> None:
        """Save everything, as the latest checkpoint, and as the best one where that is due."""
        self._check_best()
        step = self._cursor.step
        self._ledger.check_finite(step, self._cursor.epoch)
        entry = self._checkpoints.save(
            self.registry.capture() | {"run": self._own_state(place, source)},
            step=step,
            epoch=place.epoch,
            metrics=self._ledger.measured_at(step) | self._judged,
            best=self._best,
        )
        self._best, self._judged = {}, {}
        self.saved_step = step
        self._agenda.saved()
        self._record.update(checkpoint=entry.name, **self.whereabouts())

    def whereabouts(self) -> dict[str, Any]:
        """Where training is, for run.json."""
        found = {metric: self._checkpoints.best(metric) for metric in self._checkpoints.modes}
        return {
            "step": self._cursor.step,
            "epochs_done": self._cursor.epoch,
            "length": self._agenda.limits.text,
            "best": {metric: entry.metrics[metric] for metric, entry in found.items() if entry is not None},
            "stop_reason": self._agenda.stop_reason,
        }

    def _own_state(self, place: Place, source: Stateful | None) -> dict[str, Any]:
        return {
            "cursor": self._cursor.state_dict(place),
            "rng": capture_rng(),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "source": {} if source is None else source.state_dict(),
            "metrics_mark": self._record.mark(),
            "agenda": self._agenda.state_dict(),
        }

    def _check_best(self) -> None:
        if self._best and self.registry.weights_version() != self._best_version:
            raise CheckpointError(
                f"the weights changed between keep_best({next(iter(self._best))!r}) and the end of the step: "
                "the best checkpoint would not hold the weights that were measured. Evaluate after optimizer.step()"
            )

    # ---- coming back -----------------------------------------------------------------------------------------------

    def go_back_to(self, entry: Entry) -> None:
        """Set the counters and cut the record to a checkpoint; what is registered follows when the run arrives there."""
        state = self._checkpoints.load(entry.name, only="run")
        self.resumed_from, self.saved_step = entry, entry.step
        self._cursor.load_state_dict(state["cursor"])
        self._ledger.load_state_dict(state["parts"]["ledger"])
        self._record.cut(state["metrics_mark"])
        self._agenda.load_state_dict(state["agenda"])

    def restore(self, name: str) -> None:
        """Give one registered object its state, ahead of the arrival."""
        folder = self._folder()
        self.registry.restore(name, self._checkpoints.load(folder.name, only=name), f"{folder}/{name}.pt")

    def check_registered(self) -> None:
        """All that the checkpoint holds must have been registered again."""
        if self.resumed_from is not None:
            folder = self._folder()
            self.registry.check_complete([path.stem for path in folder.glob("*.pt")], str(folder))

    def arrive(self, source: Stateful | None) -> None:
        """A resumed run is where its checkpoint was taken: from here on everything is as it was then.

        What the code did on the way here, such as stepping a scheduler between two loops, is undone by it.
        """
        folder = self._folder()
        states = self._checkpoints.load(folder.name)
        state = states["run"]
        self.registry.restore_all(states, str(folder))
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        if source is not None:
            source.load_state_dict(state["source"])
        self._cursor.arrive()
        restore_rng(state["rng"])

    def check_arrived(self) -> None:
        """An epoch must not end before the place of its checkpoint was reached."""
        place = self._cursor.target
        if place is not None:
            raise RunError(
                f"the checkpoint was taken in loop {place.loop} of epoch {place.epoch}, which this epoch did not reach: "
                "the code has fewer run.batches(...) loops than it had. Restore it, or begin a new run"
            )

    def _folder(self) -> Path:
        assert self.resumed_from is not None
        return self._checkpoints.folder / self.resumed_from.name

"""``Keeper``: saves a run at a boundary and brings a resumed one back to it. Decides neither when nor whether to."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ._agenda import Agenda
from ._available import available_memory
from ._checkpoint import names_in
from ._checkpoints import Checkpoints, Entry, Mode
from ._cursor import Cursor, Place
from ._distributed import Ranks
from ._errors import CheckpointError, RunError
from ._ledger import Ledger
from ._parallel import Parallel
from ._picture_log import PictureLog
from ._record import Record
from ._registry import Registry
from ._seed import capture_rng, fresh_seed, restore_rng, seed_everything
from ._staging import bytes_of
from ._state import Stateful
from .data._size import shown_size

RETRY_SECONDS = (1, 5, 20, 60, 300)  # until a save that failed is tried again; the last one from then on
PATIENCE = 300  # seconds that the last save of a run is tried for


class Keeper:
    """Holds what must survive: the user's registered objects, and the loop's own parts.

    Args:
        parts: the loop's own, by name: they are saved and restored like registered objects, in the file ``run.pt``.
        check: given the states before they are written; what it raises reaches the loop.
        background: write checkpoints beside the loop; ``"auto"`` does where memory has room for the copy.
        tell: shows the user a line.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        record: Record,
        cursor: Cursor,
        agenda: Agenda,
        ledger: Ledger,
        pictures: PictureLog,
        parts: Mapping[str, Stateful],
        background: bool | Literal["auto"],
        tell: Callable[[str], object],
        registry: Registry,
        check: Callable[[Mapping[str, Any]], object],
        ranks: Ranks,
        parallel: Parallel,
    ) -> None:
        self.registry, self._check, self._ranks, self._parallel = registry, check, ranks, parallel
        self.resumed_from: Entry | None = None
        self.saved_step: int | None = None
        self._checkpoints, self._record = checkpoints, record
        self._cursor, self._agenda, self._ledger = cursor, agenda, ledger
        self._pictures = pictures
        self._parts = {"ledger": ledger, "pictures": pictures, **parts}
        self._best: dict[str, Mode] = {}  # metrics whose best checkpoint is due
        self._judged: dict[str, float] = {}  # their values
        self._best_version = 0  # of the weights that were measured
        self._background: bool | Literal["auto"] = background
        self._tell = tell
        self._writing: Entry | None = None  # saved, and not yet said to be
        self._failures = 0  # saves in a row that did not come to be

    # ---- saving ----------------------------------------------------------------------------------------------------

    @property
    def best_is_due(self) -> bool:
        return bool(self._best)

    def mark_best(self, metric: str, value: float, mode: Mode) -> bool:
        """Make the next checkpoint the best one by a metric, if it is."""
        if not self._ranks.from_main(lambda: self._checkpoints.is_best(metric, value, mode)):
            return False
        self._best[metric], self._judged[metric] = mode, value
        self._best_version = self.registry.weights_version()
        self._agenda.hurry()
        return True

    def save(self, place: Place, source: Stateful | None) -> None:
        """Save everything, as the latest checkpoint, and as the best one where that is due.

        Where the disk does not take it, training goes on: the user is told, and it is tried again later.
        """
        self._check_best()
        step = self._cursor.step
        self._ledger.check_finite()
        self.settle()
        try:
            self._writing = self._begin_save(place, source, step)
        except OSError as error:
            self._failed(error, step)
        else:
            self.saved_step = step
            self._agenda.saved()
            if not self._checkpoints.is_writing:
                self.settle()
        self._best, self._judged = {}, {}

    def save_surely(self, place: Place, source: Stateful | None) -> None:
        """The last save of a run: come back when it is on disk, waiting for a disk that is full.

        Raises:
            CheckpointError: it could not be saved within ``PATIENCE`` seconds.
        """
        given_up = time.monotonic() + PATIENCE
        while True:
            self.save(place, source)
            self.settle()
            if self.is_saved():
                return
            if time.monotonic() > given_up:
                raise CheckpointError(
                    f"the end of this run, step {self._cursor.step}, could not be saved within {PATIENCE} s; its last "
                    f"checkpoint is {self._last_name()}. Make room, then run it again: it goes on from there"
                )
            time.sleep(min(self._wait(), 10))

    def is_saved(self) -> bool:
        """Whether the present step is saved, or on its way to the disk."""
        return self._ranks.from_main(lambda: self.saved_step == self._cursor.step)

    def settle(self) -> None:
        """Wait for a save that goes on in the background, and say how it ended."""
        writing, self._writing = self._writing, None
        try:
            self._checkpoints.settle()
        except OSError as error:
            self._failed(error, self._cursor.step if writing is None else writing.step)
            return
        if writing is None:
            return
        self._record.update(checkpoint=writing.name, **self.whereabouts())
        if self._failures:
            self._tell(f"saved      {writing.name}: the disk takes checkpoints again")
            self._failures = 0

    def look(self) -> None:
        """The same where the save has ended; else it goes on."""
        if self._writing is not None and not self._checkpoints.is_writing:
            self.settle()

    def check_room(self) -> None:
        """Before training: there must be room on disk for a checkpoint.

        Raises:
            RunError: there is not.
        """
        need = _bytes_when_trained(self.registry)
        if self._parallel.splits:
            need = sum(self._ranks.gather(need))
        try:
            free = shutil.disk_usage(self._record.folder).free
        except OSError:
            return
        if free < need:
            raise RunError(
                f"{self._record.folder}: {shown_size(free)} are free on that disk, and a checkpoint of this training takes "
                f"about {shown_size(need)}. Make room, or give the run a folder elsewhere"
            )

    def _begin_save(self, place: Place, source: Stateful | None, step: int) -> Entry:
        self._parallel.reduce(self.registry.models().values())
        states = self.registry.capture() | {"run": self._own_state(place, source)}
        return self._checkpoints.save(
            states,
            step=step,
            epoch=place.epoch,
            metrics=self._ledger.measured_at(step) | self._judged,
            best=self._best,
            background=self._is_background(states),
            first=self._flush,
            check=self._check,
        )

    def _flush(self) -> None:
        """What a checkpoint counts is on disk before it."""
        self._pictures.settle()
        self._record.metrics.sync()

    def _is_background(self, states: Mapping[str, Any]) -> bool:
        """As asked; by itself where the copy is not what makes memory run out."""
        if self._background == "auto":
            free = available_memory()
            return free is None or 4 * bytes_of(states) < free
        return self._background

    def _failed(self, error: OSError, step: int) -> None:
        self._failures += 1
        wait = self._wait()
        self.saved_step = None
        self._agenda.save_again(wait)
        self._tell(
            f"warning    step {step} could not be saved ({error.strerror or error}); training goes on, the last "
            f"checkpoint is {self._last_name()}; the next try is in {wait} s"
        )

    def _wait(self) -> int:
        """Seconds until the next try."""
        return RETRY_SECONDS[min(max(self._failures, 1), len(RETRY_SECONDS)) - 1]

    def _last_name(self) -> str:
        latest = self._checkpoints.latest
        return "none" if latest is None else latest.name

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
        parts, rng = {name: part.state_dict() for name, part in self._parts.items()}, capture_rng()
        return {
            "cursor": self._cursor.state_dict(place),
            "rng": rng,
            "ranks": self._ranks.gather({"rng": rng, "ledger": parts["ledger"]})[1:],
            "parts": parts,
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

    def go_back(self) -> list[str]:
        """Go back to the newest checkpoint that is sound; what is wrong with newer ones."""
        entry, wrong = self._ranks.from_main(self._checkpoints.newest_sound)
        self.go_back_to(entry)
        return wrong

    def go_back_to(self, entry: Entry) -> None:
        """Set the counters and cut the record to a checkpoint; what is registered follows when the run arrives there."""
        state = self._of_this_rank(self._checkpoints.load(entry.name, only="run"))
        self.resumed_from, self.saved_step = entry, entry.step
        self._cursor.load_state_dict(state["cursor"])
        self._ledger.load_state_dict(state["parts"]["ledger"])
        self._record.cut(state["metrics_mark"])
        self._pictures.go_back(state["parts"].get("pictures"))
        self._agenda.load_state_dict(state["agenda"])

    def restore(self, name: str) -> None:
        """Give one registered object its state, ahead of the arrival."""
        folder = self._folder()
        self.registry.restore(name, self._checkpoints.load(folder.name, only=name), f"{folder}/{name}.pt")

    def check_registered(self) -> None:
        """All that the checkpoint holds must have been registered again."""
        if self.resumed_from is not None:
            folder = self._folder()
            self.registry.check_complete(names_in(folder), str(folder))

    def arrive(self, source: Stateful | None) -> None:
        """A resumed run is where its checkpoint was taken: from here on everything is as it was then.

        What the code did on the way here, such as stepping a scheduler between two loops, is undone by it.
        """
        folder = self._folder()
        states = self._checkpoints.load(folder.name)
        state = self._of_this_rank(states["run"])
        self.registry.restore_all(states, str(folder))
        for name, part in self._parts.items():
            if name != "pictures":  # as it is since the record was cut back, also where an older version saved none
                part.load_state_dict(state["parts"][name])
        if source is not None:
            source.load_state_dict(state["source"])
        self._cursor.arrive()
        restore_rng(state["rng"])
        if state["parted"]:
            seed_everything((fresh_seed() + self._ranks.position.rank) % 2**63)

    def _of_this_rank(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The loop's own state as this rank goes on from it.

        On as many ranks as before each has its own sums and generators. On another number rank 0 has all sums, and the
        others have generators of their own (``parted``).
        """
        rank, size = self._ranks.position[:2]
        parts = dict(state["parts"])
        saved = [{"rng": state["rng"], "ledger": parts["ledger"]}, *state.get("ranks", ())]
        if len(saved) == size:
            own = saved[rank]
        elif rank:
            own = {"rng": state["rng"], "ledger": Ledger.blank(parts["ledger"])}
        else:
            own = {"rng": state["rng"], "ledger": Ledger.merge([one["ledger"] for one in saved])}
        parts["ledger"] = own["ledger"]
        mark = 0 if rank else state["metrics_mark"]
        parted = len(saved) != size and rank > 0
        return {**state, "parts": parts, "rng": own["rng"], "metrics_mark": mark, "parted": parted}

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


def _bytes_when_trained(registry: Registry) -> int:
    """What a checkpoint takes: all states, and two numbers a weight for optimizers that have not stepped yet (Adam's)."""
    need = bytes_of(registry.capture())
    for optimizer in registry.optimizers().values():
        if not optimizer.state:
            need += 2 * bytes_of([p for group in optimizer.param_groups for p in group["params"]])
    return need

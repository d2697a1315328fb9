"""``Cursor``: where training is, and what a resumed run passes over until it is there again. Pure counting.

A place is (epoch, loop, drawn): the epoch, which of its top-level ``batches`` loops, and how many samples of that
loop's order were used. A resumed run goes through the epoch's code again: loops before the place yield nothing, the
loop of the place starts at ``drawn``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A boundary between two steps, at which a run can go on."""

    epoch: int
    loop: int
    drawn: int


class Cursor:
    """Counts steps, epochs, loops and samples."""

    def __init__(self) -> None:
        self.step = 0
        self.epoch = 0
        self.epoch_step = 0  # training steps in this epoch
        self.samples = 0  # seen in training, over the whole run
        self.loops = 0  # top-level loops begun in this epoch
        self.drawn = 0  # samples of the present loop's order that were used
        self.target: Place | None = None  # set while a resumed run is not yet where it was

    def begin_epoch(self) -> None:
        self.loops = 0

    def end_epoch(self) -> None:
        self.epoch += 1
        self.epoch_step = self.drawn = 0

    def arrive(self) -> None:
        """A resumed run is where it was."""
        self.target = None

    def begin_loop(self) -> bool:
        """Count a top-level loop; False if a resumed run has it behind itself."""
        number, self.loops = self.loops, self.loops + 1
        if self.target is not None:
            return number >= self.target.loop
        self.drawn = 0
        return True

    def count_step(self, samples: int, drawn: int) -> None:
        self.step += 1
        self.epoch_step += 1
        self.samples += samples
        self.drawn += drawn

    @property
    def in_loop(self) -> Place:
        """The place between two steps of the present loop."""
        return Place(self.epoch, self.loops - 1, self.drawn)

    @property
    def loop_start(self) -> Place:
        """The place before the present loop's first step."""
        return Place(self.epoch, self.loops - 1, 0)

    def state_dict(self, place: Place) -> dict[str, Any]:
        return {"place": list(place), "step": self.step, "epoch_step": self.epoch_step, "samples": self.samples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.target = Place(*state["place"])
        self.step, self.epoch_step, self.samples = state["step"], state["epoch_step"], state["samples"]
        self.epoch, self.drawn = self.target.epoch, self.target.drawn

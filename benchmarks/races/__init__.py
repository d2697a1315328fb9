"""Who races to an accuracy, and what each of them is. A module here has `race`; it knows nothing about who measures."""

from dataclasses import dataclass

SIZE, BATCH = 64, 32  # of the pictures that validation sees, in pixels; pictures a step


@dataclass(frozen=True)
class Racer:
    """One system's training."""

    title: str
    module: str  # in benchmarks.races
    packages: tuple[str, ...]
    epochs: int  # of its own schedule


RACERS = (
    Racer("fastai, fit_one_cycle", "with_fastai", ("fastai", "torch"), 10),
    Racer("Lightning, one cycle", "with_lightning", ("lightning", "torch"), 10),
    Racer("loopwright, packed, growing pictures, averaged weights", "with_loopwright", ("loopwright", "torch"), 8),
)

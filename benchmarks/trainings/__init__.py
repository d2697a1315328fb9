"""The same training, written for each system with that system's own way to save and to resume: one file a system.

Each file has

    train(folder, witness, workers)   train to the end, going on from whatever `folder` holds
    saved(folder)                     every checkpoint that the system would offer, and whether it can be loaded
    leftovers(folder)                 what only an unfinished save leaves behind
    history(folder)                   the record of metrics, byte for byte, or None where there is none to compare

and imports its system at the top. This list imports none of them.
"""

from dataclasses import dataclass

CHECKPOINTS = "checkpoints"
ASIDE = "aside"


@dataclass(frozen=True)
class Training:
    """One system: its file here, its title, what must be installed, and how it resumes."""

    module: str
    title: str
    packages: tuple[str, ...]
    resumes_by: str
    saves_in: str  # the folder in which names come and go while it saves
    mixes_workers: bool = False  # whether each life may have another number of workers, or all have the first one's


TRAININGS = (
    Training("with_loopwright", "loopwright", ("loopwright",), "its folder", f"run/{CHECKPOINTS}", mixes_workers=True),
    Training("with_lightning", "Lightning", ("lightning",), "ModelCheckpoint, fit(ckpt_path=newest)", ASIDE),
    Training(
        "with_accelerate", "accelerate", ("accelerate",), "save_state, load_state, skip_first_batches", CHECKPOINTS
    ),
)


@dataclass(frozen=True)
class Saved:
    """One checkpoint: its name, its step, and a checksum of the model's weights, or None if it does not load."""

    name: str
    step: int
    weights: str | None

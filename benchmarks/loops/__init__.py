"""The same loop, written for each system as its documentation would: one file a system, shared is only the task.

Each file has `train(batches, display, folder)`, which trains one epoch over `batches` and logs one loss every step,
into `folder` where it writes at all. It imports its system at the top: the time of that import is one of the figures.
This list imports none of them.
"""

from dataclasses import dataclass

LOGGED = "logged"
DISPLAYED = "displayed"
ONCE = "once"  # as LOGGED, but only what a run costs once is reported


@dataclass(frozen=True)
class System:
    """One row of every table: its file in this folder, its title, what must be installed, the cases it is in."""

    module: str
    title: str
    packages: tuple[str, ...]
    cases: tuple[str, ...] = (LOGGED, DISPLAYED)


BARE = System("bare", "bare loop", ("torch",))
SYSTEMS = (
    BARE,
    System("bare_tqdm", "bare loop + tqdm", ("tqdm",), (DISPLAYED,)),
    System("bare_tqdm_loss", "bare loop + tqdm, loss shown", ("tqdm",), (DISPLAYED,)),
    System("with_loopwright", "loopwright", ("loopwright",)),
    System("with_all_of_loopwright", "loopwright, every public name", ("loopwright",), (ONCE,)),
    System("with_fabric", "Fabric", ("lightning", "tqdm")),
    System("with_ignite", "Ignite", ("pytorch-ignite", "tqdm")),
    System("with_accelerate", "accelerate", ("accelerate", "tqdm")),
    System("with_lightning", "Lightning", ("lightning",)),
    System("with_fastai", "fastai", ("fastai",)),
)

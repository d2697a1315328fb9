"""``WandB``: Weights & Biases, online or offline. Kept in a process of its own, with which it may do as it likes.

pip install 'loopwright[wandb]'
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from ._tracker import Histogram, Picture, RunFacts, Scalars, Tracker

_MODES = (None, "online", "offline", "disabled")
_STEP = "step"  # the axis of all charts


class WandB(Tracker):
    """Weights & Biases: configuration, metrics, pictures, histograms, and the log and plots as files.

    Each line of the record is a step of W&B's own, so that one which is handed over again is known to be there already; the
    charts go by the step of the training. Where the record has become another one, a new W&B run holds it.

    Args:
        project: its name. Default: the name of the folder that the run is in.
        entity: a user or a team. Default: yours.
        mode: ``"online"``, ``"offline"`` (for ``wandb sync`` later). Default: as ``WANDB_MODE`` says, else online.
        folder: of W&B's own files. Default: ``wandb``, beside the run's folder.
        watch: such as ``"500 steps"``: histograms of gradients and parameters that often.
        patience: seconds that the end of a run waits.

    >>> WandB(project="woof", mode="offline")
    WandB(project='woof', mode='offline')
    """

    name, package, in_process = "wandb", "wandb", True

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: str | None = None,
        folder: str | None = None,
        watch: str | None = None,
        patience: float = 60.0,
    ):
        if mode not in _MODES:
            raise ConfigError(f"mode of WandB is 'online' or 'offline'. Found: {mode!r}")
        self.project, self.entity, self.mode, self.folder = project, entity, mode, folder
        self.watch, self.patience = watch, patience
        self._run: Any = None
        self._id = self._record = ""
        self._rows = 0  # that W&B was given, of all kinds: the same number for the same one, whatever happens between

    def __repr__(self) -> str:
        return f"WandB(project={self.project!r}, mode={self.mode!r})"

    @property
    def target(self) -> str:
        return " ".join(filter(None, (self.entity, self.project, self.mode)))

    @property
    def settings(self) -> dict[str, Any]:
        names = ("project", "entity", "mode", "folder", "watch", "patience")
        return {name: getattr(self, name) for name in names}

    def open(self, facts: RunFacts) -> None:
        wandb: Any = importlib.import_module("wandb")

        if self._run is not None:
            self._run.finish()
        beside = facts.folder.resolve().parent
        folder = Path(self.folder) if self.folder else beside
        folder.mkdir(parents=True, exist_ok=True)
        self._record, self._rows = facts.id, int(facts.kept.get("rows", 0))
        self._id = facts.kept.get("id") or _new_id(facts)
        self._run = wandb.init(
            project=self.project or beside.name or "runs",
            entity=self.entity,
            mode=self.mode,
            dir=str(folder),
            id=self._id,
            name=facts.name,
            resume="allow",
            config=dict(facts.config) or None,
            allow_val_change=True,
            settings=wandb.Settings(console="off", disable_git=True, silent=True, x_disable_meta=True),
        )
        self._run.config.update({"loopwright": dict(facts.tags)}, allow_val_change=True)
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)

    def kept(self) -> Mapping[str, Any]:
        return {"id": self._id, "record": self._record, "rows": self._rows}

    def scalars(self, batch: Sequence[Scalars]) -> None:
        for line in batch:
            self._log({**line.values, "epoch": line.epoch}, line.step)

    def picture(self, picture: Picture) -> None:
        wandb: Any = importlib.import_module("wandb")

        caption = ", ".join(picture.captions) or None
        shown = wandb.Image(str(picture.path), caption=caption)
        self._log({picture.name: shown, "epoch": picture.epoch}, picture.step)

    def histograms(self, batch: Sequence[Histogram]) -> None:
        wandb: Any = importlib.import_module("wandb")

        for h in batch:
            width = (h.high - h.low) / len(h.counts)
            edges = [h.low + width * place for place in range(len(h.counts) + 1)]
            shown = wandb.Histogram(np_histogram=(list(h.counts), edges))
            self._log({h.name: shown}, h.step)

    def artifact(self, path: Path) -> None:
        self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self, state: str) -> None:
        self._run.summary["state"] = state
        self._run.finish(exit_code=0 if state == "finished" else 1)
        self._run = None

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log({**values, _STEP: step}, step=self._rows)
        self._rows += 1


def _new_id(facts: RunFacts) -> str:
    """The run's own; where it stands in the place of one that is the record no more, with a number behind."""
    before = str(facts.replaces.get("id", ""))
    if not before or facts.replaces.get("record") != facts.id:
        return facts.id
    number = before.rpartition("-")[2] if "-" in before else "1"
    return f"{facts.id}-{int(number) + 1}"

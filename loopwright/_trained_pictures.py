"""``open_pictures_model``: the model that a run of ``task: restore`` or ``segment`` trained, and what it takes to use it.

As in ``_trained``, what is read from the run's folder are settings, names and tensors; nothing in it is executed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ._checkpoints import Entry
from ._errors import RunError
from ._record import CHECKPOINTS, read_run
from ._state import load_state
from ._trained import check_trusted, code_of, config_of, named, run_of, saved_entry, validated_weights
from .data._normalize import Normalize
from .data._role import Kind, Role
from .data._to_unit import ToUnit
from .models._build import build_model

TASKS = ("restore", "segment")


@dataclass(frozen=True)
class PicturePart:
    """An input or a target of the model."""

    name: str
    folder: str
    kind: Kind
    planes: int  # channels of its batches
    prefix: str = ""
    suffix: str = ""
    scale: int = 1

    def role(self, folder: str | Path | None = None) -> Role:
        """As ``PairedFolders`` takes it, with its files in another folder if need be."""
        where = self.folder if folder is None else folder
        return Role(where, self.kind, prefix=self.prefix, suffix=self.suffix, scale=self.scale)

    def read(self, path: Path) -> Any:
        """A file as its samples have it."""
        return self.role().read(path)


@dataclass(frozen=True)
class TrainedPictures:
    """A run's model from pictures to pictures or masks, in evaluation mode, on the CPU."""

    model: nn.Module = field(repr=False)
    task: str
    inputs: Sequence[PicturePart]
    targets: Sequence[PicturePart]
    classes: Sequence[str]  # of masks; empty for pictures
    ignore: int | None  # the label that does not count
    folder: Path
    checkpoint: Entry
    weights: str  # "model", or the average that the run validated: "ema", "swa"
    settings: Mapping[str, Any] = field(repr=False)  # config.yaml

    @property
    def precision(self) -> str:
        return str(self.settings.get("precision", "auto"))

    def normalize(self, part: PicturePart) -> Normalize | ToUnit:
        """How an input becomes floats, as in the training."""
        if self.task == "segment" and part.kind == "picture":
            return Normalize()
        return ToUnit("last" if part.kind == "raw" else "first")

    @property
    def tiles(self) -> dict[str, int]:
        """The setting ``tile`` of the run and its overlap, where it has them."""
        tile, overlap = self.settings.get("tile"), self.settings.get("overlap")
        return {"tile": tile, "overlap": overlap} if type(tile) is int and type(overlap) is int else {}

    @property
    def are_made(self) -> bool:
        """Whether the inputs were made of the targets, by ``degrade``."""
        return not self.settings.get("inputs")

    def facts(self) -> dict[str, Any]:
        """Where it comes from and how to feed it: plain values, for the metadata of files."""
        info, code = read_run(self.folder), code_of(self.folder)
        return {
            "task": self.task,
            "inputs": [{"name": part.name, "kind": part.kind, "channels": part.planes} for part in self.inputs],
            "targets": [{"name": part.name, "kind": part.kind, "channels": part.planes} for part in self.targets],
            "classes": list(self.classes),
            "ignore": self.ignore,
            "model": named(self.settings["model"])[0],
            "run": info.get("id"),
            "checkpoint": self.checkpoint.name,
            "step": self.checkpoint.step,
            "metrics": dict(self.checkpoint.metrics),
            "weights": self.weights,
            "commit": code.get("commit"),
            "uncommitted_changes": code.get("dirty"),
        }

    def __str__(self) -> str:
        shown = {name: value for name, value in self.checkpoint.metrics.items() if not name.startswith("train/")}
        measured = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        of = "" if self.weights == "model" else f", {self.weights}"
        return f"{self.folder}: {self.checkpoint.name}{of}" + (f" ({measured})" if measured else "")


def task_of(run: str | Path) -> str:
    """What a run was trained for: ``"classify"``, ``"restore"`` or ``"segment"``."""
    return str(config_of(run_of(run)).get("task", "classify"))


def open_pictures_model(run: str | Path, checkpoint: str | None = None, *, trust: bool = False) -> TrainedPictures:
    """The model of a run of ``loopwright train`` with ``task: restore`` or ``task: segment``.

    Args:
        run: its folder.
        checkpoint, trust: as ``open_model``'s.

    Raises:
        RunError: it is no such run, or has no checkpoint yet.
        CheckpointError: there is no such checkpoint, or it does not fit the model.
    """
    folder = run_of(run)
    settings = config_of(folder)
    task = settings.get("task", "classify")
    if task not in TASKS:
        raise RunError(f"{folder} is of task: {task}, not of {' or '.join(TASKS)}")
    inputs, targets = _parts(settings)
    entry = saved_entry(folder, checkpoint)
    name, arguments = named(settings["model"])
    check_trusted(folder, name, read_run(folder), trust)
    classes = [str(one) for one in settings.get("classes", ())]
    model = _built(name, arguments, inputs, targets, len(classes))
    weights, state = validated_weights(folder / CHECKPOINTS / entry.name, settings)
    load_state(model, state, strict=True, place=str(folder / CHECKPOINTS / entry.name))
    model.eval().requires_grad_(False)
    return TrainedPictures(
        model, str(task), inputs, targets, classes, settings.get("ignore"), folder, entry, weights, settings
    )


def _parts(settings: Mapping[str, Any]) -> tuple[list[PicturePart], list[PicturePart]]:
    targets = _listed(settings.get("targets")) or [PicturePart("target", ".", "picture", 3)]
    inputs = _listed(settings.get("inputs"))
    if not inputs:  # they were made of the targets
        inputs = [PicturePart("input", "", "picture", targets[0].planes)]
    return inputs, targets


def _listed(roles: Any) -> list[PicturePart]:
    """What a saved configuration says of its roles."""
    parts = []
    for name, role in (roles or {}).items():
        kind: Any
        kind, channels = role.get("kind", "picture"), int(role.get("channels", 1))
        planes = 3 if kind == "picture" else channels if kind == "raw" else 1
        prefix, suffix = (str(role.get(key) or "") for key in ("prefix", "suffix"))
        scale = int(role.get("scale", 1))
        parts.append(PicturePart(str(name), str(role.get("folder", ".")), kind, planes, prefix, suffix, scale))
    return parts


def _built(
    name: str, arguments: Mapping[str, Any], inputs: Sequence[PicturePart], targets: Sequence[PicturePart], classes: int
) -> nn.Module:
    """The model with fresh weights, which the run's replace; the caller's random generator is left alone."""
    outputs = classes or sum(part.planes for part in targets)
    offered = {"in_channels": sum(part.planes for part in inputs), "out_channels": outputs}
    fresh = {key: None if key in ("weights", "weights_backbone") else value for key, value in arguments.items()}
    with torch.random.fork_rng(devices=[]):
        return build_model(name, offered=offered | ({"num_classes": classes} if classes else {}), **fresh)

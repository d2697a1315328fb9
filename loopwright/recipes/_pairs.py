"""What the recipes of pictures share: from settings to pairs, their loaders, and a model for them. Public names only."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .._errors import DataError
from ..data._cached import Cached
from ..data._degrade import Degrade
from ..data._loader import Loader
from ..data._normalize import Normalize
from ..data._open import open_data
from ..data._packed_pairs import PackedPairs
from ..data._paired import PairedFolders
from ..data._part import Part
from ..data._to_unit import ToUnit
from ..data._transforms import CenterCrop, RandomCrop
from ..models._build import build_model
from ._optimisation import run_folder
from ._picture_settings import WORSE, RestoreSettings, SegmentSettings

PairSettings = RestoreSettings | SegmentSettings
PACK = ".pack"


def open_pairs(s: PairSettings, split: str | None, data: str | Path | None = None) -> Any:
    """The samples of one split: pictures by role, or clean pictures alone where ``degrade`` makes their partners."""
    root = Path(data or s.data)
    roles: dict[str, Any] = {name: role.role() for name, role in s.roles.items()}
    if split is not None and (root / f"{split}{PACK}").is_file():
        return _packed(open_data(root, split), roles, s)
    pairs = PairedFolders(root, split, holdout=s.holdout, on_error=s.on_error, **roles)
    if s.cache is None or s.cache in ("memory", "disk"):
        return pairs if s.cache is None else Cached(pairs, s.cache)
    return Cached(pairs, Path(s.cache) / (split or "all"))


def _packed(packs: Any, roles: dict[str, Any], s: PairSettings) -> Any:
    """The samples of a pack, where it holds what is asked for."""
    if isinstance(packs, PackedPairs):
        packs.check_roles(roles)
        return packs
    wanted = [role.kind for role in roles.values()]
    if isinstance(s, RestoreSettings) and s.degrade and wanted == ["picture"]:
        return packs
    raise DataError(
        f"{packs.path} holds RGB pictures of classes, and task: {s.task} asks for {', '.join(roles)} "
        f"({', '.join(wanted)}): pack its pairs, 'loopwright pack CONFIG.yaml FOLDER', which keeps gray and 16 bits"
    )


def train_loader(s: PairSettings, pairs: Any) -> Loader:
    """Aligned squares in any attitude, so many of each picture an epoch."""
    samples = pairs if s.crops == 1 else Part(pairs, np.tile(np.arange(len(pairs)), s.crops))
    crop = RandomCrop(s.image_size, flip=0.5 if s.flip else 0.0, turn=s.turn, pad=s.pad)
    return Loader(
        samples, s.batch_size, transform=crop, sample_transform=_degrade(s, None), shuffle=True, drop_last=s.drop_last,
        workers=s.workers, seed=s.seed, normalize=to_floats(s), on_error=s.on_error,
    )  # fmt: skip


def val_loader(s: PairSettings, pairs: Any) -> Loader:
    """Whole pictures, one at a time; what makes them worse is the same in each epoch."""
    return Loader(
        pairs, 1, sample_transform=_degrade(s, s.seed), workers=s.workers, normalize=to_floats(s), on_error=s.on_error
    )


def val_squares(s: PairSettings, pairs: Any) -> Loader:
    """The middles of whole pictures, as large as those of training, so that they make batches: to be looked at."""
    return Loader(
        pairs, s.batch_size, transform=CenterCrop(s.image_size, share=None), sample_transform=_degrade(s, s.seed),
        workers=0, normalize=to_floats(s), on_error=s.on_error,
    )  # fmt: skip


def to_floats(s: PairSettings) -> dict[str, Normalize | ToUnit]:
    """How the parts of a batch become floats: to restore 0..1, to segment as classifiers have them. Labels stay."""
    kinds = {name: role.kind for name, role in s.roles.items() if role.kind != "mask"}
    if isinstance(s, RestoreSettings) and s.degrade:
        kinds[WORSE] = "picture"  # floats already
    as_usual = isinstance(s, SegmentSettings)
    return {
        name: Normalize() if as_usual and kind == "picture" else ToUnit("last" if kind == "raw" else "first")
        for name, kind in kinds.items()
    }


def picture_model(s: PairSettings) -> nn.Module:
    """The model, told how many channels go in and come out where it takes these by their usual names."""
    outputs = len(s.classes) if isinstance(s, SegmentSettings) else sum(s.roles[name].planes for name in s.target_names)
    offered = {"in_channels": in_channels(s), "out_channels": outputs}
    if isinstance(s, SegmentSettings):
        offered["num_classes"] = outputs
    return build_model(s.model.name, offered=offered, **s.model.arguments)


def in_channels(s: PairSettings) -> int:
    """Of all inputs together."""
    if isinstance(s, RestoreSettings) and s.degrade:
        return next(iter(s.roles.values())).planes
    return sum(s.roles[name].planes for name in s.input_names)


def _degrade(s: PairSettings, fixed: int | None) -> Degrade | None:
    if not isinstance(s, RestoreSettings) or not s.degrade:
        return None
    (clean,) = s.roles
    return Degrade([step.step() for step in s.degrade], source=clean, into=WORSE, fixed=fixed)


def plan_lines(s: PairSettings, pieces: Any, samples: str) -> list[str]:
    """What a dry run says: of which ``samples`` there are how many, the model, the length, one batch of each phase."""
    lines = [
        f"data       {s.data}: {len(pieces.train)} training and {len(pieces.val)} validation {samples}",
        f"model      {s.model.name}: {sum(p.numel() for p in pieces.model.parameters()):,} parameters",
        f"length     {s.epochs} x {len(pieces.train_loader)} steps of {s.batch_size} squares of {s.image_size} pixels",
        f"run        {run_folder(s)}",
    ]
    for name, loader in (("train", pieces.train_loader), ("val", pieces.val_loader)):
        batch = next(iter(loader.epoch_batches(0)))
        loader.close()
        shapes = ", ".join(f"{role} {tuple(part.shape)} {part.dtype}" for role, part in batch.items())
        lines.append(f"{name:<10} one batch: {shapes}")
    return lines

"""``BatchJoint``: crops, flips and affine maps of a batch of several pictures a sample, the same for each of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import ConfigError, DataError
from ._geometry import Geometric, apply_geometry, plan_geometry
from ._member import Shape, moved
from ._random import StepRandom


class BatchJoint:
    """The same geometry for all parts of a batch that is a dictionary, on the device that it is on, drawn from (seed, step).

    Floats and uint8 (N, C, H, W) are resampled as ``BatchAugment`` with these members would do it, to the bit; labels,
    other integers (N, H, W), are those of the nearest pixel. Parts of one dimension or two pass untouched.

    Args:
        members: ``BatchFlip``, ``BatchResizedCrop``, ``BatchAffine``.
        ignore: the label of what lies beyond the edges.

    Raises:
        ConfigError: a member is none of these.
        DataError: the parts differ in height or width.

    >>> batch = {"image": torch.rand(2, 3, 8, 8), "mask": torch.zeros(2, 8, 8, dtype=torch.int64)}
    >>> from loopwright import BatchFlip
    >>> {name: part.shape for name, part in BatchJoint([BatchFlip()])(batch, seed=0, step=1).items()}
    {'image': torch.Size([2, 3, 8, 8]), 'mask': torch.Size([2, 8, 8])}
    """

    def __init__(self, members: Sequence[Geometric], *, ignore: int = 255) -> None:
        if wrong := [member for member in members if not isinstance(member, Geometric)]:
            raise ConfigError(
                f"BatchJoint: {wrong[0]!r} is no flip, crop or affine map; what changes colours is for one role alone"
            )
        self.members, self.ignore = list(members), ignore

    def __call__(self, batch: Mapping[str, Any], *, seed: int | None, step: int, first: int = 0) -> dict[str, Any]:
        """A new dictionary; ``seed`` is ``run.seed``, ``step`` ``run.global_step``, ``first`` as ``BatchAugment``'s."""
        shape = self._shape(batch)
        rng = StepRandom(seed, step, first=first)
        now, matrices = shape, np.tile(np.eye(3), (shape.samples, 1, 1))
        for place, member in enumerate(self.members):
            matrices = matrices @ member.matrices(now, rng.stream(place))
            height, width = member.size(now.height, now.width)
            now = now._replace(height=height, width=width)
        size = (now.height, now.width)
        return {name: self._shown(part, matrices, size) for name, part in batch.items()}

    def _shape(self, batch: Mapping[str, Any]) -> Shape:
        if not isinstance(batch, Mapping):
            raise DataError(f"BatchJoint is for batches that are dictionaries. Found: {type(batch).__name__}")
        shapes = {name: (len(part), *part.shape[-2:]) for name, part in batch.items() if _is_picture(part)}
        if len(set(shapes.values())) != 1:
            raise DataError(f"BatchJoint needs parts of one size. Found: {shapes or 'no pictures'}")
        samples, height, width = next(iter(shapes.values()))
        return Shape(samples, 1, height, width)

    def _shown(self, part: Any, matrices: np.ndarray, size: tuple[int, int]) -> Any:
        if not _is_picture(part):
            return part
        if part.ndim == 3:
            return self._nearest(part, matrices, size)
        plan = plan_geometry(matrices, Shape(*part.shape), size)
        fill = next((member.fill for member in self.members if member.fill is not None), None)
        with torch.autocast(part.device.type, enabled=False):
            return apply_geometry(part, moved(plan.numbers, part.device), plan.facts, fill)

    def _nearest(self, labels: Tensor, matrices: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The label of the pixel that the middle of each new one falls into."""
        a = moved({"matrices": matrices[:, :2]}, labels.device)["matrices"][:, :, :, None, None]
        y, x = (torch.arange(side, device=labels.device) + 0.5 for side in size)
        column, row = ((a[:, i, 0] * x + (a[:, i, 1] * y[:, None] + a[:, i, 2])).floor().long() for i in (0, 1))
        height, width = labels.shape[1:]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        places = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
        found = labels.flatten(1).gather(1, places).view(len(labels), *size)
        return found.where(inside, torch.full_like(found, self.ignore))

    def __repr__(self) -> str:
        return f"BatchJoint({self.members})"


def _is_picture(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim in (3, 4)

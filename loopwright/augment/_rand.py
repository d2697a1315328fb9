"""``BatchRandAugment``: a few operations of a fixed list on each picture, each picture its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import ConfigError
from .._names import did_you_mean
from ._color import ColourRange, check_colours
from ._colors import brighten, contrast, equalize, posterize, saturate, sharpen, solarize, stretch
from ._geometry import affine, apply_geometry, plan_geometry
from ._member import Batch, BatchTransform, Plan, Shape
from ._pixels import as_float, change_some, check_fill, check_pair, like, top
from ._random import StepRandom

_MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "brightness": brighten, "contrast": contrast, "saturation": saturate, "sharpness": sharpen,
    "posterize": posterize, "solarize": solarize,
}  # fmt: skip
_PLAIN: dict[str, Callable[[Tensor, float], Tensor]] = {"autocontrast": stretch, "equalize": equalize}
OPERATIONS = ("identity", *_MOVES, *_BLENDS, *_PLAIN)
_MOST = 30.0  # the scale of magnitudes in the paper
_TILT, _WAY, _TURN, _FACTOR = 0.3, 150 / 331, 30.0, 0.9  # at magnitude 30: tangent, share of the side, degrees, factor


class BatchRandAugment(BatchTransform):
    """Apply ``ops`` random operations to each picture, one after the other, each picture its own ones.

    Pictures that draw the same operation are done together, so the work is a few calls for the whole batch.

    Args:
        ops: how many operations a picture.
        magnitude: how strong they are, 0 to 30, or a range to draw from for each operation of each picture; (0, 30)
            with ``ops=1`` is the idea of TrivialAugment. At 0 all but autocontrast and equalize change nothing.
        choices: the operations to draw from, by name.
        fill: what moves and rotations let in: a number or one a channel, in the units of the images.

    Takes uint8, or floats in 0..1: before ``Normalize``. (N, 3, H, W) or (N, 1, H, W).

    Source: Cubuk et al., "RandAugment", NeurIPS 2020, with torchvision's operations and ranges. Unlike there, moves are
    bilinear, shears go about the centre, and at magnitude 0 solarize spares pure white.

    >>> import torch
    >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> BatchRandAugment(2, 9)(images, None, StepRandom(seed=0, step=1))[0].shape
    torch.Size([4, 3, 8, 8])
    """

    def __init__(
        self,
        ops: int = 2,
        magnitude: float | Sequence[float] = 9.0,
        *,
        choices: Sequence[str] = OPERATIONS,
        fill: float | Sequence[float] = 0.0,
    ) -> None:
        if not isinstance(ops, int) or ops < 0:
            raise ConfigError(f"BatchRandAugment: ops must be a whole number, 0 or more. Found: {ops!r}")
        pair = (magnitude, magnitude) if isinstance(magnitude, int | float) else magnitude
        self.ops, self.magnitude = ops, check_pair("BatchRandAugment: magnitude", pair, 0, _MOST)
        self.choices = tuple(choices)
        for name in self.choices or ("nothing",):
            if name not in OPERATIONS:
                question = did_you_mean(name, OPERATIONS) or f"there are {', '.join(OPERATIONS)}"
                raise ConfigError(f"BatchRandAugment: choices: there is no operation {name!r}: {question}")
        self.fill = check_fill("BatchRandAugment: fill", fill)
        self._colours = ColourRange("BatchRandAugment")

    def check_values(self, images: Tensor) -> None:
        blends = self.magnitude[1] > 0 and not set(_BLENDS).isdisjoint(self.choices)
        if self.ops and (blends or not set(_PLAIN).isdisjoint(self.choices)):
            self._colours.check(images)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        check_colours("BatchRandAugment", shape.channels)
        numbers: dict[str, np.ndarray] = {}
        rounds = []
        for number in range(self.ops):
            drawn = rng.uniform(shape.samples, 3)
            low, high = self.magnitude
            strength = (low + (high - low) * drawn[:, 1]) / _MOST
            names = np.array(self.choices)[(drawn[:, 0] * len(self.choices)).astype(int)]
            rounds.append(_plan_round(f"{number} ", names, strength, drawn[:, 2] < 0.5, shape, numbers))
        return Plan(numbers, rounds)

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        for prefix, sampling, names in facts:
            if sampling is not None:
                mine = {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}
                images = apply_geometry(images, mine, sampling, self.fill)
            for name in names:
                images = self._recoloured(name, images, numbers[f"{prefix}{name}"], numbers[f"{prefix}{name} by"])
        return images, labels

    def _recoloured(self, name: str, images: Tensor, index: Tensor, by: Tensor) -> Tensor:
        def change(part: Tensor) -> Tensor:
            x = as_float(part)
            return like(_PLAIN[name](x, top(part)) if name in _PLAIN else _BLENDS[name](x, by, top(part)), part)

        return change_some(images, index, change)

    def __repr__(self) -> str:
        return f"BatchRandAugment({self.ops}, {self.magnitude}, choices={self.choices}, fill={self.fill})"


def _plan_round(
    prefix: str,
    names: np.ndarray,
    strength: np.ndarray,
    negative: np.ndarray,
    shape: Shape,
    numbers: dict[str, np.ndarray],
) -> tuple[str, Any, list[str]]:
    """One operation for each picture: all moves in one resampling, then the colours, kind by kind."""
    signed = np.where(negative, -strength, strength)
    sampling, moves = None, np.isin(names, _MOVES) & (strength > 0)
    if moves.any():
        plan = plan_geometry(_moves(names, np.where(moves, signed, 0), shape), shape, (shape.height, shape.width))
        sampling = plan.facts
        numbers.update({f"{prefix}{name}": value for name, value in plan.numbers.items()})
    used = []
    for name in (*_BLENDS, *_PLAIN):
        which = np.flatnonzero((names == name) & ((strength > 0) | (name in _PLAIN)))
        if len(which):
            used.append(name)
            numbers[f"{prefix}{name}"] = which
            numbers[f"{prefix}{name} by"] = _by(name, strength[which], signed[which])
    return prefix, sampling, used


def _moves(names: np.ndarray, signed: np.ndarray, shape: Shape) -> np.ndarray:
    def of(name: str) -> np.ndarray:
        return np.where(names == name, signed, 0.0)

    shear = np.arctan(_TILT * np.stack([of("shear_x"), of("shear_y")], 1))
    move = np.trunc(np.stack([of("translate_x") * shape.width, of("translate_y") * shape.height], 1) * _WAY)
    return affine(np.deg2rad(_TURN * of("rotate")), move, np.ones(len(names)), shear, shape)


def _by(name: str, strength: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """What the operation's function takes."""
    if name == "posterize":
        return 8 - np.rint(4 * strength)
    if name == "solarize":
        return 1 - strength
    return 1 + _FACTOR * signed

"""Crops, flips and affine maps of a batch, each picture by numbers of its own.

Each of them only says by matrices where the points of its result lie in what it is given. So several in a row become one
matrix, and the picture is sampled once: it is blurred once, and what a crop cut off is there when it is turned in.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import ConfigError
from ._member import Batch, BatchTransform, Plan, Shape
from ._pixels import check_fill, check_pair, check_probability, filling
from ._random import StepRandom
from ._sampling import plan_sampling, sample

Fill = float | tuple[float, ...]
_TRIES = 10  # as often torchvision tries for a crop that fits


class Geometric(BatchTransform):
    """A change that is a matrix for each picture."""

    fill: Fill | None = None  # None: it never looks outside

    @abstractmethod
    def matrices(self, shape: Shape, rng: StepRandom) -> np.ndarray:
        """From points of the result to points of the source, in pixels: float64 (N, 3, 3)."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result."""
        return height, width

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        return plan_geometry(self.matrices(shape, rng), shape, self.size(shape.height, shape.width))

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        return apply_geometry(images, numbers, facts, self.fill), labels


def plan_geometry(matrices: np.ndarray, shape: Shape, size: tuple[int, int]) -> Plan:
    """The plan of one resampling."""
    numbers, sampling = plan_sampling(matrices, (shape.height, shape.width), size)
    return Plan(numbers, sampling, size)


def apply_geometry(images: Tensor, numbers: Mapping[str, Tensor], facts: Any, fill: Fill | None) -> Tensor:
    """Resample as planned."""
    colour = None if fill is None or not facts.warped else filling(fill, images.shape[1], images.device)
    return sample(images, numbers, facts, colour)


class BatchFlip(Geometric):
    """Mirror each picture, left to right and upside down, with these probabilities. Pixels move, none changes.

    Args:
        horizontal: probability of left to right, 0 to 1.
        vertical: probability of upside down, 0 to 1.

    Takes uint8 or any floats, (N, C, H, W).

    >>> import torch
    >>> images = torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)
    >>> BatchFlip(horizontal=1)(images, None, StepRandom(seed=0, step=1))[0]
    tensor([[[[3, 2, 1]]]], dtype=torch.uint8)
    """

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        self.horizontal = check_probability("BatchFlip: horizontal", horizontal)
        self.vertical = check_probability("BatchFlip: vertical", vertical)

    def matrices(self, shape: Shape, rng: StepRandom) -> np.ndarray:
        flips = rng.uniform(shape.samples, 2) < (self.horizontal, self.vertical)
        return _flips(flips, shape.width, shape.height)

    def __repr__(self) -> str:
        return f"BatchFlip(horizontal={self.horizontal}, vertical={self.vertical})"


class BatchResizedCrop(Geometric):
    """A random part of each picture, resized to a square, flipped left to right half of the time.

    The parts are distributed as ``RandomResizedCrop``'s and torchvision's, and resized as Pillow does it, with
    antialiasing; where an affine map follows, see ``BatchAffine``.

    Args:
        size: height and width of the result, in pixels.
        scale: smallest and largest share of the picture's area to take, above 0 and at most 1.
        ratio: smallest and largest width / height of the part.
        flip: probability of a flip from left to right, 0 to 1.

    Takes uint8 or any floats, (N, C, H, W); gives (N, C, size, size).

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    >>> import torch
    >>> images = torch.zeros(2, 3, 40, 30, dtype=torch.uint8)
    >>> BatchResizedCrop(8)(images, None, StepRandom(seed=0, step=1))[0].shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        size: int,
        *,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"BatchResizedCrop: size must be a whole number of pixels, 1 or more. Found: {size!r}")
        self.side = size
        self.scale = check_pair("BatchResizedCrop: scale", scale, 1e-9, 1)
        self.ratio = check_pair("BatchResizedCrop: ratio", ratio, 1e-9, 1e9)
        self.flip = check_probability("BatchResizedCrop: flip", flip)

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.side, self.side

    def boxes(self, shape: Shape, rng: StepRandom) -> np.ndarray:
        """The parts as left, top, width, height in whole pixels: float64 (N, 4)."""
        return random_boxes(rng.uniform(shape.samples, _TRIES, 4), shape.width, shape.height, self.scale, self.ratio)

    def matrices(self, shape: Shape, rng: StepRandom) -> np.ndarray:
        boxes, flips = self.boxes(shape, rng), rng.uniform(shape.samples, 2) < (self.flip, 0)
        cut = _diagonal(boxes[:, 2:] / self.side, boxes[:, :2])
        return cut @ _flips(flips, self.side, self.side)

    def __repr__(self) -> str:
        return f"BatchResizedCrop({self.side}, scale={self.scale}, ratio={self.ratio}, flip={self.flip})"


class BatchAffine(Geometric):
    """Rotate, move, scale and shear each picture about its centre, by numbers drawn evenly from the ranges.

    Bilinear. In ``BatchAugment`` it becomes one resampling with the crops and flips beside it. Where the result is coarser
    than its source, it is averaged first, close to but not the same as Pillow's antialiasing.

    Args:
        degrees: of rotation, clockwise: a range, or one number for -degrees to degrees.
        translate: largest move across and down, as shares of width and height, 0 to 1; by whole pixels.
        scale: smallest and largest factor of size.
        shear: degrees that verticals are tilted: a range, or one number for both ways.
        p: share of the pictures that are changed; the others keep their bits.
        fill: what is seen outside: a number or one a channel, in the units of the images.

    Takes uint8 or any floats, (N, C, H, W). The matrix is that of torchvision's ``affine``.

    >>> import torch
    >>> images = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    >>> BatchAffine(degrees=(90, 90))(images, None, StepRandom(seed=0, step=1))[0].tolist()
    [[[[3, 1], [4, 2]]]]
    """

    def __init__(
        self,
        degrees: float | Sequence[float] = 0.0,
        translate: Sequence[float] = (0.0, 0.0),
        scale: Sequence[float] = (1.0, 1.0),
        shear: float | Sequence[float] = 0.0,
        *,
        p: float = 1.0,
        fill: float | Sequence[float] = 0.0,
    ) -> None:
        self.degrees = _both_ways("BatchAffine: degrees", degrees, 360)
        self.shear = _both_ways("BatchAffine: shear", shear, 89)
        self.scale = check_pair("BatchAffine: scale", scale, 1e-3, 1e3)
        if not isinstance(translate, Sequence) or len(translate) != 2 or not all(0 <= t <= 1 for t in translate):
            raise ConfigError(f"BatchAffine: translate must be two shares from 0 to 1. Found: {translate!r}")
        self.translate = float(translate[0]), float(translate[1])
        self.p, self.fill = check_probability("BatchAffine: p", p), check_fill("BatchAffine: fill", fill)

    def matrices(self, shape: Shape, rng: StepRandom) -> np.ndarray:
        drawn = rng.uniform(shape.samples, 6)
        angle, shear = (np.deg2rad(_between(drawn[:, i], r)) for i, r in ((0, self.degrees), (1, self.shear)))
        extent = np.array([shape.width, shape.height])
        move = np.rint((2 * drawn[:, 3:5] - 1) * self.translate * extent)
        made = affine(angle, move, _between(drawn[:, 2], self.scale), shear, shape)
        made[drawn[:, 5] >= self.p] = np.eye(3)
        return made

    def __repr__(self) -> str:
        return (
            f"BatchAffine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, shear={self.shear}, "
            f"p={self.p}, fill={self.fill})"
        )


def affine(angle: np.ndarray, move: np.ndarray, scale: np.ndarray, shear: np.ndarray, shape: Shape) -> np.ndarray:
    """The inverse of moving after rotating after shearing after scaling about the centre: float64 (N, 3, 3).

    ``angle`` and ``shear`` (N,) are in radians, ``shear`` also (N, 2) for both axes; ``move`` (N, 2) in pixels.
    """
    tilt = np.tan(shear if shear.ndim == 2 else np.stack([shear, np.zeros_like(shear)], 1))
    cos, sin = np.cos(angle), np.sin(angle)
    one, zero = np.ones_like(cos), np.zeros_like(cos)
    turned = np.stack([cos, sin, -sin, cos], 1).reshape(-1, 2, 2)  # inverse of [[cos, -sin], [sin, cos]]
    across = np.stack([one, tilt[:, 0], zero, one], 1).reshape(-1, 2, 2)  # of [[1, -tan], [0, 1]]
    down = np.stack([one, zero, tilt[:, 1], one], 1).reshape(-1, 2, 2)  # of [[1, 0], [-tan, 1]]
    linear = across @ down @ turned / scale[:, None, None]
    linear[np.abs(linear) < 1e-15] = 0  # a quarter turn is one exactly
    centre = np.array([shape.width / 2, shape.height / 2])
    made = np.tile(np.eye(3), (len(angle), 1, 1))
    made[:, :2, :2] = linear
    made[:, :2, 2] = centre - (linear @ (centre + move)[:, :, None])[:, :, 0]
    return made


def random_boxes(
    drawn: np.ndarray, width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    """Boxes by numbers in [0, 1) (N, tries, 4), the first that fits: left, top, width, height, float64 (N, 4).

    Where no try fits it is the largest central part of an allowed ratio.
    """
    boxes, fits = box_tries(drawn, width, height, scale, ratio)
    chosen = boxes[np.arange(len(boxes)), fits.argmax(1)]
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * shape))), min(height, max(1, round(width / shape)))
    chosen[~fits.any(1)] = ((width - w) // 2, (height - h) // 2, w, h)
    return chosen


def box_tries(
    drawn: np.ndarray, width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """All the tries, (N, tries, 4) and whether each fits into the picture (N, tries)."""
    area = width * height * _between(drawn[..., 0], scale)
    shape = np.exp(_between(drawn[..., 1], (math.log(ratio[0]), math.log(ratio[1]))))
    w, h = np.rint(np.sqrt(area * shape)), np.rint(np.sqrt(area / shape))
    left, top = np.floor(drawn[..., 2] * (width - w + 1)), np.floor(drawn[..., 3] * (height - h + 1))
    return np.stack([left, top, w, h], -1), (w > 0) & (w <= width) & (h > 0) & (h <= height)


def _diagonal(slopes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    made = np.zeros((len(slopes), 3, 3))
    made[:, [0, 1], [0, 1]], made[:, :2, 2], made[:, 2, 2] = slopes, starts, 1
    return made


def _flips(flips: np.ndarray, width: int, height: int) -> np.ndarray:
    return _diagonal(np.where(flips, -1.0, 1.0), np.where(flips, (width, height), 0.0))


def _between(uniform: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return limits[0] + uniform * (limits[1] - limits[0])


def _both_ways(name: str, value: Any, limit: float) -> tuple[float, float]:
    pair = (-value, value) if isinstance(value, int | float) and value >= 0 else value
    return check_pair(name, pair, -limit, limit)

"""``BatchColor``: brightness, contrast, saturation, hue and gray, each picture by factors of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import ConfigError, DataError
from ._colors import brighten, contrast, saturate, shift_hue
from ._member import Batch, BatchTransform, Plan, Shape
from ._pixels import as_float, change_some, check_pair, check_probability, like, top
from ._random import StepRandom

_CHANGES = {"brightness": brighten, "contrast": contrast, "saturation": saturate, "hue": shift_hue}
_MOST = 1e3  # a factor
_ROUNDING = 1e-2  # what resampling in half precision may add


class BatchColor(BatchTransform):
    """Change brightness, contrast, saturation and hue of each picture, by factors drawn evenly from the ranges.

    The four follow one another in an order that is drawn anew for each step; what is at 0 is left out. Values are rounded
    once, at the end.

    Args:
        brightness, contrast, saturation: a range of factors, or a number x for max(0, 1 - x) to 1 + x.
        hue: a range of turns of the colour circle within -0.5 to 0.5, or a number for both ways.
        gray: share of the pictures that then lose their colour.
        p: share of the pictures whose colours change; the others keep their bits (but for ``gray``).

    Takes uint8, or floats in 0..1: colours come before ``Normalize``. (N, 3, H, W), or (N, 1, H, W), where saturation and
    hue mean nothing.

    Raises:
        DataError: the pictures have neither 1 nor 3 channels.

    Source: torchvision's ``ColorJitter`` and ``RandomGrayscale``; hue by way of HSV.

    >>> import torch
    >>> images = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    >>> BatchColor(brightness=(1.5, 1.5))(images, None, StepRandom(seed=0, step=1))[0].unique()
    tensor([150], dtype=torch.uint8)
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        *,
        gray: float = 0.0,
        p: float = 1.0,
    ) -> None:
        given = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.ranges = {name: _factors(f"BatchColor: {name}", value) for name, value in given.items()}
        self.ranges["hue"] = _turns("BatchColor: hue", hue)
        self.gray, self.p = check_probability("BatchColor: gray", gray), check_probability("BatchColor: p", p)
        self._colours = ColourRange("BatchColor")

    def check_values(self, images: Tensor) -> None:
        if self.gray or (self.p and any(limits not in ((1, 1), (0, 0)) for limits in self.ranges.values())):
            self._colours.check(images)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        check_colours("BatchColor", shape.channels)
        drawn, order = rng.uniform(shape.samples, 6), np.argsort(rng.shared(len(_CHANGES)), kind="stable")
        names = list(_CHANGES)
        changed = np.flatnonzero(drawn[:, 4] < self.p)
        numbers: dict[str, np.ndarray] = {"changed": changed, "grayed": np.flatnonzero(drawn[:, 5] < self.gray)}
        used = []
        for place in order:
            low, high = self.ranges[names[place]]
            if (low, high) != ((0, 0) if names[place] == "hue" else (1, 1)):
                used.append(names[place])
                numbers[names[place]] = low + (high - low) * drawn[changed, place]
        return Plan(numbers, used)

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        def recolour(part: Tensor) -> Tensor:
            x = as_float(part)
            for name in facts:
                x = _CHANGES[name](x, numbers[name], top(part))
            return like(x, part)

        def without_colour(part: Tensor) -> Tensor:
            return like(saturate(as_float(part), numbers["grayed"].new_zeros(1).float(), top(part)), part)

        changed = change_some(images, numbers["changed"], recolour) if facts else images
        return change_some(changed, numbers["grayed"], without_colour), labels

    def __repr__(self) -> str:
        ranges = ", ".join(f"{name}={limits}" for name, limits in self.ranges.items())
        return f"BatchColor({ranges}, gray={self.gray}, p={self.p})"


def check_colours(name: str, channels: int) -> None:
    """Refuse pictures in which colours mean nothing."""
    if channels not in (1, 3):
        raise DataError(
            f"{name} needs pictures of 3 channels, red, green and blue, or of 1. Found: {channels} channels"
        )


class ColourRange:
    """Refuses floats that are no colours: of what is normalised already a change of colours makes black and white.

    On a processor every batch is looked at. Elsewhere to look is to wait, so there it is the first one only.
    """

    def __init__(self, name: str) -> None:
        self._name, self._is_known = name, False

    def check(self, images: Tensor) -> None:
        if not images.is_floating_point() or (self._is_known and images.device.type != "cpu"):
            return
        low, high = (float(value) for value in images.detach().aminmax())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise DataError(
                f"{self._name} changes colours: bytes, or floats from 0 to 1. Found: {low:.4g} to {high:.4g}. Are they "
                "normalised already? Loader(normalize=None) leaves them bytes, and lw.Normalize comes after"
            )
        self._is_known = True


def _factors(name: str, value: Any) -> tuple[float, float]:
    if isinstance(value, int | float):
        if value < 0:
            raise ConfigError(f"{name} must be 0 or more, or a range. Found: {value!r}")
        return max(0.0, 1.0 - value), 1.0 + value
    return check_pair(name, value, 0, _MOST)


def _turns(name: str, value: Any) -> tuple[float, float]:
    pair = (-value, value) if isinstance(value, int | float) and value >= 0 else value
    return check_pair(name, pair, -0.5, 0.5)

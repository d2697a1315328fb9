"""Numbers as colours: pictures of any range, classes and differences as 8-bit RGB. Knows no tensors, sheets and runs.

Values are clamped, never wrapped, and what is no number is shown as such: magenta.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_NUMBER = (255, 0, 255)
TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the scale of an error map
_HEAT = np.array(
    [(0, 0, 0), (62, 18, 110), (170, 40, 95), (240, 115, 40), (255, 252, 200)], np.float64
)  # rising in light
_NEAR = 1e-3  # beyond 0..1 that rounding may cause


@dataclass
class Facts:
    """What had to be done to values so that they could be shown."""

    low: float = np.inf
    high: float = -np.inf
    clamped: int = 0  # values outside 0..1
    no_numbers: int = 0
    values: int = 0

    @property
    def is_off(self) -> bool:
        """Whether more lies outside than noise and overshooting explain."""
        return self.low < -1 or self.high > 2 or self.clamped > 0.25 * self.values

    def see(self, values: np.ndarray) -> None:
        """Count values that should lie in 0..1."""
        is_number = ~np.isnan(values)
        self.values += values.size
        self.no_numbers += values.size - int(is_number.sum())
        if is_number.any():
            self.low, self.high = (
                min(self.low, float(values[is_number].min())),
                max(self.high, float(values[is_number].max())),
            )
            self.clamped += int(((values < -_NEAR) | (values > 1 + _NEAR))[is_number].sum())


def unit(picture: np.ndarray, scale: tuple[Sequence[float], Sequence[float]] | None) -> np.ndarray:
    """A picture (C, H, W) of bytes, 16 bits, bool or floats as float64, 0 black and 1 white; floats may lie outside.

    >>> unit(np.array([[[0, 65535]]], np.uint16), None).tolist()
    [[[0.0, 1.0]]]
    """
    if picture.dtype == np.bool_:
        return picture.astype(np.float64)
    if picture.dtype.kind == "u":
        return picture / float(np.iinfo(picture.dtype).max)
    values = picture.astype(np.float64)
    if scale is not None:
        mean, std = (np.asarray(part, np.float64)[:, None, None] for part in scale)
        values = values * std + mean
    return values


def visible(values: np.ndarray) -> np.ndarray:
    """Values (C, H, W) in 0..1 as bytes (H, W, 3), or (H, W, 4) with transparency.

    >>> visible(np.array([[[-1.0, 0.5, 7.0, np.nan]]]))[0].tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255], [255, 0, 255]]
    """
    is_none = np.isnan(values).any(0)
    pixels = np.rint(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)
    pixels = np.moveaxis(np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels, 0, -1)
    pixels = np.ascontiguousarray(pixels)
    pixels[is_none] = (*NO_NUMBER, 255)[: pixels.shape[-1]]
    return pixels


def class_colors(classes: np.ndarray) -> np.ndarray:
    """Numbers of classes (H, W) as colours (H, W, 3): 0 is black, and negative ones, which mean nothing, are gray.

    The colour of a number has its bits, the lowest three as the highest bits of red, green and blue, and so on: numbers that
    are close differ most (as PASCAL VOC draws its masks; 255, its void, is pale yellow).

    >>> class_colors(np.array([[0, 1, 2, 255, -1]]))[0].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192], [127, 127, 127]]
    """
    left, colors = classes.astype(np.int64), np.zeros((*classes.shape, 3), np.uint8)
    for bit in range(7, -1, -1):
        for channel in range(3):
            colors[..., channel] |= (((left >> channel) & 1) << bit).astype(np.uint8)
        left = left >> 3
    colors[classes < 0] = 127
    return colors


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far two pictures (C, H, W) in 0..1 are apart: the absolute difference, its mean over the channels (H, W).

    Of classes, which are whole numbers: 1 where they are not the same.
    """
    if one.dtype.kind == other.dtype.kind == "i":
        return (one != other).any(0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.abs(one - other).mean(0)


def top_of(differences: Sequence[np.ndarray]) -> float:
    """A round top for a scale that 99 of 100 differences lie below.

    >>> top_of([np.full((4, 4), 0.03)])
    0.05
    """
    values = np.concatenate([values[np.isfinite(values)] for values in differences])
    reach = float(np.quantile(values, 0.99)) if values.size else 1.0
    return next((top for top in TOPS if reach <= top), TOPS[-1])


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """Values (H, W) as colours (H, W, 3) from black for 0 over purple and orange to white for ``top`` and above.

    >>> heat(np.array([[0.0, 0.2, 5.0]]), 0.2)[0].tolist()
    [[0, 0, 0], [255, 252, 200], [255, 252, 200]]
    """
    place = np.nan_to_num(values / top, nan=0.0, posinf=1.0).clip(0, 1)
    stops = np.linspace(0, 1, len(_HEAT))
    colors = np.stack([np.interp(place, stops, _HEAT[:, channel]) for channel in range(3)], -1)
    colors = np.rint(colors).astype(np.uint8)
    colors[np.isnan(values)] = NO_NUMBER
    return colors

"""``overlay``: a mask laid over its picture in colours. Knows no models and no sheets."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._errors import DataError

Color = tuple[int, int, int]
_GOLDEN = 0.618033988749895  # neighbours on the list are far apart on the circle of hues


def overlay(
    picture: Any,
    mask: Any,
    *,
    colors: Sequence[Color] | None = None,
    strength: float = 0.5,
    ignore: int | None = 255,
    background: int | None = 0,
) -> np.ndarray:
    """A picture with each labelled pixel tinted in the colour of its class: uint8 (3, H, W).

    Args:
        picture: uint8, or floats in 0..1: (H, W), (C, H, W) or (H, W, C) with 1 or 3 channels; an array or tensor.
        mask: whole numbers (H, W).
        colors: of the classes, as (red, green, blue) 0 to 255. Default: hues far apart.
        strength: of the colours, 0 to 1.
        ignore: a label that is shown as gray hatching.
        background: a class that is not tinted.

    Raises:
        DataError: the two are of different sizes, or no picture and mask.

    >>> overlay(np.zeros((4, 6), np.uint8), np.ones((4, 6), np.int64), colors=[(0, 0, 0), (200, 0, 0)])[:, 0, 0].tolist()
    [100, 0, 0]
    """
    pixels, labels = _as_rgb(_array(picture)), _array(mask)
    if labels.shape != pixels.shape[:2] or labels.dtype.kind not in "biu":
        raise DataError(f"overlay: a mask {labels.shape} of {labels.dtype} for a picture of {pixels.shape[:2]} pixels")
    made = pixels.astype(np.float32)
    for label in np.unique(labels).tolist():
        if label in (background, ignore):
            continue
        color = np.array(colors[label] if colors is not None else class_color(label), np.float32)
        where = labels == label
        made[where] = (1 - strength) * made[where] + strength * color
    if ignore is not None:
        rows, columns = np.indices(labels.shape)
        made[(labels == ignore) & ((rows + columns) % 4 < 2)] = 128
    return np.rint(made).astype(np.uint8).transpose(2, 0, 1)


def class_color(label: int) -> Color:
    """The colour of a class, always the same.

    >>> class_color(1) == class_color(1) != class_color(2)
    True
    """
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8:
        raise DataError(f"overlay: this is no picture: {pixels.dtype} {pixels.shape}")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

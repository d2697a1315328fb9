"""Pictures resampled by a matrix for each: the matrix says where in the source each point of the result comes from.

Coordinates are those of the pixels' edges: a picture spans 0 to W and 0 to H, and the centre of its first pixel is 0.5.
Each sample is done in the cheapest of four ways, whatever the other samples of its batch are:

- **kept**: the matrix changes nothing; the bits stay.
- **flipped**: pixels trade places; no value changes.
- **resized**: a box, upright or mirrored, inside the picture; antialiased bilinear, with the weights that Pillow uses.
- **warped**: everything else; bilinear, the fill colour outside. Where the result is coarser than the source, the source
  is averaged to half its size as often as it fits, and what remains is sampled twice as densely and averaged.

Which way is decided on the CPU, so nothing waits for the device. Knows nothing about random numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ._pixels import as_float, change_some, laid_out, like, put, take

_NEAR = 1e-6  # pixels
_ALIASING = 1.25  # source pixels between two points of the result, from which it is sampled more densely


class _Warped(NamedTuple):
    """One group of warped samples."""

    name: str
    level: int  # how often the source is halved
    finer: int  # samples per point of the result, along each side


@dataclass(frozen=True)
class Sampling:
    """What the host knows about a resampling."""

    size: tuple[int, int]  # of the result
    changes_size: bool
    taps: tuple[int, int]  # source pixels that may count for one resized pixel, down and across
    warped: tuple[_Warped, ...]


def plan_sampling(
    matrices: np.ndarray, source: tuple[int, int], size: tuple[int, int]
) -> tuple[dict[str, np.ndarray], Sampling]:
    """Sort the samples by what their matrices, float64 (N, 3, 3), ask for; sizes are (height, width)."""
    extent = np.array(source[::-1], dtype=np.float64)
    slopes, starts = matrices[:, [0, 1], [0, 1]], matrices[:, :2, 2]  # of x and y, (N, 2)
    upright = np.abs(matrices[:, [0, 1], [1, 0]]).max(1, initial=0) < 1e-12
    whole = upright & (np.abs(np.abs(slopes) - 1) < 1e-9).all(1) & (size == source)
    whole &= (np.abs(starts - np.where(slopes < 0, extent, 0)) < _NEAR).all(1)
    across, down = whole & (slopes[:, 0] < 0), whole & (slopes[:, 1] < 0)
    ends = starts + slopes * np.array(size[::-1])
    inside = (np.minimum(starts, ends) > -_NEAR).all(1) & (np.maximum(starts, ends) < extent + _NEAR).all(1)
    resized = upright & inside & ~whole

    lines = np.stack([slopes, starts], 2)[resized]  # (n, 2, 2): slope and start of x, of y
    reach = np.maximum(np.abs(lines[:, :, 0]).max(0, initial=1.0), 1.0)
    taps = math.ceil(2 * reach[1]), math.ceil(2 * reach[0])
    numbers = {
        "across": np.flatnonzero(across & ~down), "down": np.flatnonzero(down & ~across),
        "turned": np.flatnonzero(across & down), "resized": np.flatnonzero(resized), "lines": lines,
    }  # fmt: skip
    groups = _plan_warps(matrices, np.flatnonzero(~whole & ~resized), source, size, numbers)
    return numbers, Sampling(size, size != source, taps, groups)


def _plan_warps(
    matrices: np.ndarray,
    which: np.ndarray,
    source: tuple[int, int],
    size: tuple[int, int],
    numbers: dict[str, np.ndarray],
) -> tuple[_Warped, ...]:
    """Group the warped samples by how much coarser their result is, and add each group's numbers."""
    coarseness = _coarseness(matrices[which])
    levels = np.floor(np.log2(np.clip(coarseness, 1, min(source)))).astype(int)
    finer = np.where(coarseness / 2.0**levels > _ALIASING, 2, 1)
    groups = []
    for level, fine in sorted(set(zip(levels.tolist(), finer.tolist(), strict=True))):
        group = _Warped(f"warped{level}x{fine}", level, fine)
        members = which[(levels == level) & (finer == fine)]
        numbers[group.name] = members
        numbers[f"{group.name} grid"] = _normalised(matrices[members], source, size, level)
        groups.append(group)
    return tuple(groups)


def _coarseness(matrices: np.ndarray) -> np.ndarray:
    """Source pixels per pixel of the result where it is most: the largest singular value of the linear part."""
    linear = matrices[:, :2, :2]
    squares, determinant = (linear**2).sum((1, 2)), np.linalg.det(linear)
    return np.sqrt((squares + np.sqrt(np.maximum(squares**2 - 4 * determinant**2, 0))) / 2)


def _normalised(matrices: np.ndarray, source: tuple[int, int], size: tuple[int, int], level: int) -> np.ndarray:
    """From -1..1 over the result to -1..1 over the source halved ``level`` times: float64 (n, 2, 3)."""
    height, width = (2**level * math.ceil(side / 2**level) for side in source)
    to_pixels = np.array([[size[1] / 2, 0, size[1] / 2], [0, size[0] / 2, size[0] / 2], [0, 0, 1]])
    from_pixels = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    return (from_pixels @ matrices @ to_pixels)[:, :2]


def sample(images: Tensor, numbers: Mapping[str, Tensor], sampling: Sampling, fill: Tensor | None = None) -> Tensor:
    """Resample a batch as planned; ``fill`` is a colour (1, C, 1, 1), or None for zeros."""
    if sampling.changes_size:
        return _sample_to_size(images, numbers, sampling, fill)
    result = images
    for name, axes in (("across", [3]), ("down", [2]), ("turned", [2, 3])):
        result = change_some(result, numbers[name], lambda part, axes=axes: _flipped(part, axes))
    result = change_some(result, numbers["resized"], lambda part: _resized(part, numbers["lines"], sampling))
    for group in sampling.warped:
        grid = numbers[f"{group.name} grid"]
        change = lambda part, group=group, grid=grid: _warped(part, grid, sampling.size, group, fill)  # noqa: E731
        result = change_some(result, numbers[group.name], change)
    return result


def _sample_to_size(images: Tensor, numbers: Mapping[str, Tensor], sampling: Sampling, fill: Tensor | None) -> Tensor:
    if len(numbers["resized"]) == len(images):
        return _resized(images, numbers["lines"], sampling)
    result = like(images.new_empty((*images.shape[:2], *sampling.size), dtype=torch.float32), images)
    if len(numbers["resized"]):
        part = take(images, numbers["resized"])
        result = put(result, numbers["resized"], _resized(part, numbers["lines"], sampling))
    for group in sampling.warped:
        index, grid = numbers[group.name], numbers[f"{group.name} grid"]
        if len(index) == len(images):
            return _warped(images, grid, sampling.size, group, fill)
        result = put(result, index, _warped(take(images, index), grid, sampling.size, group, fill))
    return result


def _flipped(images: Tensor, axes: list[int]) -> Tensor:
    return laid_out(images.flip(axes), images)


def _resized(images: Tensor, lines: Tensor, sampling: Sampling) -> Tensor:
    """Boxes of the pictures at another size: rows are mixed to rows, then columns to columns."""
    count, channels, height, width = images.shape
    (new_height, new_width), (down, across) = sampling.size, sampling.taps
    rows = as_float(images.permute(0, 2, 3, 1).contiguous()).view(count, height, width * channels)
    rows = _mixed(rows, lines[:, 1], new_height, down)
    columns = rows.view(count, new_height, width, channels).transpose(1, 2).reshape(count, width, new_height * channels)
    columns = _mixed(columns, lines[:, 0], new_width, across)
    return like(columns.view(count, new_width, new_height, channels).permute(0, 3, 2, 1), images)


def _mixed(rows: Tensor, line: Tensor, length: int, taps: int) -> Tensor:
    """``length`` weighted sums of rows (n, L, F), at the places of a line (n, 2) of slope and start: (n, length, F).

    The weights are a triangle as wide as two pixels of the coarser side. Adding up few weighted rows of a table is what
    embedding bags do, and they do it in one pass on every device.
    """
    count, old_length, _ = rows.shape
    steps = torch.arange(length, device=rows.device, dtype=torch.float32) + 0.5
    centres = line[:, :1] * steps + line[:, 1:]  # (n, length)
    reach = line[:, :1].abs().clamp(min=1)
    first = (centres - reach - 0.5).floor() + 1
    index = first[:, :, None] + torch.arange(taps, device=rows.device, dtype=torch.float32)
    weight = (1 - (index + 0.5 - centres[:, :, None]).abs() / reach[:, :, None]).clamp_(min=0)
    weight = weight * ((index >= 0) & (index < old_length))
    weight = weight / weight.sum(2, keepdim=True)
    begins = torch.arange(count, device=rows.device).view(-1, 1, 1) * old_length
    index = index.clamp_(0, old_length - 1).to(torch.int64) + begins
    mixed = F.embedding_bag(
        index.view(-1, taps), rows.reshape(count * old_length, -1), per_sample_weights=weight.view(-1, taps), mode="sum"
    )
    return mixed.view(count, length, -1)


def _warped(images: Tensor, grid: Tensor, size: tuple[int, int], group: _Warped, fill: Tensor | None) -> Tensor:
    """Bilinear samples at an affine grid (n, 2, 3); outside is ``fill``, to which the picture fades over one pixel."""
    source = as_float(images)
    if fill is not None:
        source = source - fill
    if group.level:
        source = F.avg_pool2d(source, 2**group.level, ceil_mode=True, count_include_pad=False)
    result = F.grid_sample(source, _points(grid, size, group.finer), "bilinear", "zeros", align_corners=False)
    if group.finer > 1:
        result = F.avg_pool2d(result, group.finer)
    if fill is not None:
        result = result + fill
    return like(result, images)


def _points(grid: Tensor, size: tuple[int, int], finer: int) -> Tensor:
    """(n, 2, 3) to (n, h, w, 2). Sums of products, because a matrix product may be cut to half precision."""
    y, x = ((torch.arange(side * finer, device=grid.device) + 0.5) * (2 / (side * finer)) - 1 for side in size)
    a = grid[:, :, :, None, None]
    return torch.stack([a[:, i, 0] * x + (a[:, i, 1] * y[:, None] + a[:, i, 2]) for i in (0, 1)], dim=3)

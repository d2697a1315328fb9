"""``View``: which part of a picture is shown at which size. Decided before any pixel is read; knows no file formats."""

import functools
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

try:
    from . import _crop_copy
except ImportError:  # not compiled here: mirroring takes several times as long
    _crop_copy = None

Interpolation = Literal["bilinear", "nearest"]
Pad = Literal["reflect", "edge", "fill"]
REDUCTIONS = (8, 4, 2)  # a JPEG decodes faster at 1/8, 1/4 and 1/2 of its size; at 5/8 to 7/8 it decodes slower
SPARE = 4 / 3  # how much larger than its result a reduced part still is: at 1 the antialiasing has nothing left to do


class View(NamedTuple):
    """A part of an upright picture, at another size.

    Args:
        box: left, top, right, bottom, in whole pixels.
        width, height: of the result, in pixels.
        flip: whether the result is mirrored left to right.
        reduction: 1, 2, 4 or 8: the picture may be read at 1 / ``reduction`` of its size; ``box`` is a multiple of it.
        turns: quarter turns against the clock, after the flip.
        pad: what lies outside of the picture, where ``box`` goes beyond its edges.
    """

    box: tuple[int, int, int, int]
    width: int
    height: int
    flip: bool = False
    reduction: int = 1
    turns: int = 0
    pad: Pad | None = None

    def moved(self, right: int, down: int) -> "View":
        """The view of a picture that has so many more columns on the left and rows on top."""
        left, top, *_ = self.box
        return self._replace(box=(left + right, top + down, self.box[2] + right, self.box[3] + down))

    def times(self, scale: int) -> "View":
        """The same part of a picture that has ``scale`` times as many rows and columns, to the pixel."""
        left, top, right, bottom = self.box
        box = (left * scale, top * scale, right * scale, bottom * scale)
        return self._replace(box=box, width=self.width * scale, height=self.height * scale)


def reduced_view(box: tuple[int, int, int, int], width: int, height: int, flip: bool) -> View:
    """The view of a box that is free to move a little: onto the grid on which the picture can be read smaller.

    A box that lies beside that grid would be off by a part of a small pixel. On it, and with ``SPARE`` left to the
    resizing, the shared photos differ from a full decode by 49 dB (median; without spare by 46, docs/data.md).

    >>> reduced_view((3, 3, 1203, 1203), 224, 224, False)
    View(box=(0, 0, 1200, 1200), width=224, height=224, flip=False, reduction=4, turns=0, pad=None)
    """
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    by = next((by for by in REDUCTIONS if wide >= by * width * SPARE and high >= by * height * SPARE), 1)
    left, top = left // by * by, top // by * by
    return View((left, top, left + wide // by * by, top + high // by * by), width, height, flip, by)


def at_reduction(view: View, reduction: int) -> View:
    """The view of a picture that was read at 1 / ``reduction`` of its size, of which ``view.reduction`` is a multiple."""
    left, top, right, bottom = view.box
    return view._replace(box=(left // reduction, top // reduction, right // reduction, bottom // reduction))


class Viewable(Protocol):
    """A picture of which parts can be had without reading all of it. ``width`` and ``height`` are those when upright."""

    width: int
    height: int

    def show(self, view: View, out: np.ndarray | None = None) -> np.ndarray:
        """The view's pixels: (height, width, channels), written into ``out`` where it is given."""
        ...

    def picture(self) -> Image.Image:
        """All of it."""
        ...


class Pixels:
    """A picture in memory: uint8 (H, W) or (H, W, C), or another type of number."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.height, self.width = array.shape[:2]

    def show(self, view: View, out: np.ndarray | None = None, interpolation: Interpolation = "bilinear") -> np.ndarray:
        return show(self._array, view, out, interpolation)

    def picture(self) -> Image.Image:
        return Image.fromarray(self._array)


def show(
    pixels: np.ndarray,
    view: View,
    out: np.ndarray | None = None,
    interpolation: Interpolation = "bilinear",
    fill: float = 0,
) -> np.ndarray:
    """A view of pixels (H, W) or (H, W, C) at full size: resized with antialiasing, or to the nearest pixel, then flipped
    and turned.

    8-bit numbers stay 8-bit, with the rounding of torch's own kernel; all others are computed as 32-bit floats and come
    back as what they were. ``fill`` is what stands beyond the edges where the view is padded with it.
    """
    if view.turns % 4:
        return _turned(pixels, view, out, interpolation, fill)
    part = _part(pixels, view, fill)
    if part.ndim == 2:
        made = show(pixels[:, :, None], view, None if out is None else out[:, :, None], interpolation, fill)
        return made[:, :, 0] if out is None else out
    made = np.empty((view.height, view.width, part.shape[2]), part.dtype) if out is None else out
    if part.shape == made.shape:
        copy_part(part, made, view.flip)
    elif interpolation == "nearest":
        copy_part(part[_nearest(part.shape[0], view.height)][:, _nearest(part.shape[1], view.width)], made, view.flip)
    else:
        _resize(part, made)
        if view.flip:
            copy_part(made, made, True)
    return made


def _part(pixels: np.ndarray, view: View, fill: float) -> np.ndarray:
    left, top, right, bottom = view.box
    height, width = pixels.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return pixels[top:bottom, left:right]
    assert view.pad is not None, "a view beyond the edges says what lies there"
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    part = pixels[_inside(rows, height, view.pad)][:, _inside(columns, width, view.pad)]
    if view.pad == "fill":
        part[(rows < 0) | (rows >= height)] = fill
        part[:, (columns < 0) | (columns >= width)] = fill
    return part


def _inside(places: np.ndarray, size: int, pad: Pad) -> np.ndarray:
    """The pixel that stands for each place: the nearest one, or its mirror image in the edge pixels."""
    if pad != "reflect":
        return places.clip(0, size - 1)
    around = places % max(1, 2 * (size - 1))
    return np.minimum(around, max(1, 2 * (size - 1)) - around)


def _turned(
    pixels: np.ndarray, view: View, out: np.ndarray | None, interpolation: Interpolation, fill: float
) -> np.ndarray:
    width, height = (view.height, view.width) if view.turns % 2 else (view.width, view.height)
    before = show(pixels, view._replace(width=width, height=height, turns=0), None, interpolation, fill)
    made = np.empty((view.height, view.width, *before.shape[2:]), before.dtype) if out is None else out
    made[...] = np.rot90(before, view.turns)
    return made


def copy_part(source: np.ndarray, target: np.ndarray, flip: bool) -> None:
    """Copy pixels (H, W, C) to where there is room for as many, mirrored left to right if asked; both may be one."""
    if flip and _crop_copy is not None and _are_colours(source) and _are_colours(target):
        _crop_copy.copy(source, target, True, False)
        return
    part = mirrored(source) if flip else source
    if _has_whole_rows(part) and _has_whole_rows(target):
        count = len(part)
        np.copyto(lines(target[None], count)[0], lines(part[None], count)[0])
    else:
        target[...] = part


def has_crop_copy() -> bool:
    """Whether mirroring is done by what was compiled."""
    return _crop_copy is not None


def mirrored(pixels: np.ndarray) -> np.ndarray:
    """A copy of pixels (H, W, C) in which left and right are exchanged."""
    if pixels.dtype != np.uint8:
        return pixels[:, ::-1].copy()
    return _tensor(pixels).flip(1).numpy()  # many times faster than NumPy's backward steps of three bytes


def lines(pictures: np.ndarray, count: int) -> np.ndarray:
    """Pictures (N, H, W, C) as lines of bytes (N, count), each copied as one item: in half the time of single numbers.

    The same memory. Of a picture that is one line (``count`` 1) the numbers, (N, bytes): as one item it would be slower.

    >>> lines(np.zeros((2, 8, 4, 3), np.uint8), 8).shape, lines(np.zeros((2, 8, 4, 3), np.uint8), 1).shape
    ((2, 8), (2, 96))
    """
    numbers = pictures.reshape(len(pictures), count, -1)
    if count == 1:
        return numbers[:, 0]
    return numbers.view(_line_type(numbers.shape[2] * numbers.itemsize))[..., 0]


def lines_of_parts(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every part of so many pixels of every picture: (N, H - height + 1, W - width + 1, ...), of each its lines, or its
    numbers where these lie side by side.

    Args:
        pictures: uint8 (N, H, W, C), the pixels of each side by side. Nothing is copied.

    >>> pictures = np.zeros((2, 8, 6, 3), np.uint8)
    >>> lines_of_parts(pictures, 4, 4).shape, lines_of_parts(pictures, 4, 6).shape
    ((2, 5, 3, 4), (2, 5, 1, 72))
    """
    number, high, wide, channels = pictures.shape
    row = wide * channels
    steps = (pictures.strides[0], row, channels)
    places = (number, high - height + 1, wide - width + 1)
    first, size = pictures[0].reshape(-1), width * channels
    if width == wide or height == 1:
        return np.lib.stride_tricks.as_strided(first, (*places, height * size), (*steps, 1), writeable=False)
    items = first[:size].view(_line_type(size))
    return np.lib.stride_tricks.as_strided(items, (*places, height), (*steps, row), writeable=False)


@functools.lru_cache(1024)
def _line_type(size: int) -> np.dtype:
    return np.dtype((np.void, size))


def _has_whole_rows(pixels: np.ndarray) -> bool:
    """Whether the pixels of a row lie side by side."""
    return pixels.strides[1:] == (pixels.shape[2] * pixels.itemsize, pixels.itemsize)


def _are_colours(pixels: np.ndarray) -> bool:
    return pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.strides[1:] == (3, 1)


def _nearest(before: int, after: int) -> np.ndarray:
    """The pixel that the middle of each new one falls into."""
    return ((np.arange(after) + 0.5) * (before / after)).astype(np.int64)


def _resize(part: np.ndarray, made: np.ndarray) -> None:
    size = [made.shape[0], made.shape[1]]
    if made.dtype == np.uint8:
        _choose_resize()(_planes(part), size, _planes(made))
        return
    source = torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)).permute(2, 0, 1)[None]
    values = torch.nn.functional.interpolate(source, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    made[...] = values if made.dtype.kind == "f" else np.rint(values)


def _planes(pixels: np.ndarray) -> torch.Tensor:
    """(H, W, C) in memory as torch's (1, C, H, W), nothing copied, to be written to only where ``pixels`` may be."""
    return _tensor(pixels).permute(2, 0, 1)[None]


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    """The same memory for torch, or a copy where it is backward, which torch has no word for."""
    if min(pixels.strides) < 0:
        pixels = pixels.copy()
    elif not pixels.flags.writeable:
        pixels = np.asarray(_Unlocked(pixels))
    return torch.from_numpy(pixels)


class _Unlocked:
    """Memory that torch is to read and that NumPy calls read-only, such as a file's: torch has no word for it."""

    def __init__(self, pixels: np.ndarray) -> None:
        facts = pixels.__array_interface__
        self.__array_interface__ = facts | {"data": (facts["data"][0], False)}
        self._held = pixels


def _resize_by_public_name(source: torch.Tensor, size: list[int], out: torch.Tensor) -> None:
    out.copy_(torch.nn.functional.interpolate(source, size, mode="bilinear", antialias=True))


def _resize_in_place(source: torch.Tensor, size: list[int], out: torch.Tensor) -> None:
    torch.ops.aten._upsample_bilinear2d_aa.out(source, size, False, None, None, out=out)


@functools.cache
def _choose_resize() -> Any:
    """torch's kernel, straight into its place. Its name is private: where it is gone, by way of the public one."""
    source = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3).permute(0, 3, 1, 2)
    made = [torch.empty((1, 2, 2, 3), dtype=torch.uint8).permute(0, 3, 1, 2) for _ in range(2)]
    _resize_by_public_name(source, [2, 2], made[0])
    try:
        _resize_in_place(source, [2, 2], made[1])
    except (AttributeError, RuntimeError, TypeError):
        return _resize_by_public_name
    return _resize_in_place if torch.equal(*made) else _resize_by_public_name

"""``Role``: what one of several pictures of a sample is: where it lies, how it is read and shown. Knows no samples."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from .._errors import ConfigError, DataError
from ._picture import EXTENSIONS, open_picture, to_rgb
from ._stored import ARRAYS, is_lossy, picture_values, stored_values
from ._undecoded import PictureFile
from ._view import Interpolation, View, show

Kind = Literal["picture", "gray", "mask", "raw"]
_BEYOND_A_MASK = 255  # the customary label of what does not count


@dataclass(frozen=True)
class Role:
    """One of the pictures of each sample of ``PairedFolders``.

    Args:
        folder: where its files are, below the root.
        kind: what they are, in a sample and in a batch:

            - ``"picture"``: 8-bit RGB as ``open_picture`` reads it; a Pillow picture, then uint8 (N, 3, H, W).
            - ``"gray"``: 8-bit gray; a Pillow picture, then uint8 (N, 1, H, W).
            - ``"mask"``: a label a pixel, of gray or palette pictures (their indices) or ``.npy``; an int64 array (H, W),
              then (N, H, W). Shown to the nearest pixel, so that no label comes up that was not there.
            - ``"raw"``: the numbers of the file, 16-bit and floats too (see ``stored_values``; ``.npy`` with one or more
              channels); an array (H, W) or (H, W, C) of their own type, then (N, H, W) or (N, H, W, C). Resized as
              32-bit floats.

        prefix, suffix: what the files' names have before and behind the name that they pair by: ``suffix="_mask"`` for
            ``0001_mask.png``. A suffix with a dot is the end of the whole file name: ``suffix=".png"`` tells the masks
            from pictures in one folder, ``suffix=".nii.gz"`` is for a loader of your own.
        loader: a function from the path to a Pillow picture or an array of this kind, instead of ours.
        interpolation: ``"bilinear"`` (with antialiasing) or ``"nearest"``. Default: nearest for masks, else bilinear.
        scale: how many times the width and height of the role with the smallest pictures these have; its views are
            ``scale`` times as large, aligned to the pixel. For super-resolution.
        fill: what stands beyond the edges where a crop pads with ``"fill"``. Default: 255 for masks, else 0.

    >>> Role("masks", "mask", suffix="_mask").interpolation
    'nearest'
    """

    folder: str | Path
    kind: Kind = "picture"
    _: KW_ONLY
    prefix: str = ""
    suffix: str = ""
    loader: Callable[[Path], Any] | None = None
    interpolation: Interpolation | None = None
    scale: int = 1
    fill: float | None = None

    def __post_init__(self) -> None:
        _check_one_of("kind", self.kind, Kind)
        if self.interpolation is None:
            object.__setattr__(self, "interpolation", "nearest" if self.kind == "mask" else "bilinear")
        _check_one_of("interpolation", self.interpolation, Interpolation)
        if self.kind == "mask" and self.interpolation != "nearest":
            raise ConfigError("Role: labels cannot be mixed: a mask is shown with interpolation='nearest'")
        if not isinstance(self.scale, int) or self.scale < 1:
            raise ConfigError(f"Role: scale must be a whole number, 1 or more. Found: {self.scale!r}")
        if self.fill is None:
            object.__setattr__(self, "fill", _BEYOND_A_MASK if self.kind == "mask" else 0)

    @property
    def extensions(self) -> frozenset[str] | None:
        """Those of the files that count; None where every file does."""
        if self.loader is not None or "." in self.suffix:
            return None
        return EXTENSIONS | {ARRAYS} if self.kind in ("mask", "raw") else EXTENSIONS

    def read(self, path: Path) -> Image.Image | np.ndarray:
        """A file as a sample has it.

        Raises:
            DataError: it cannot be read, or is not of this kind.
        """
        if self.loader is None:
            return _READ[self.kind](path)
        return _CONVERT[self.kind](self.loader(path), path)

    def undecoded(self, path: Path) -> Image.Image | np.ndarray | PictureFile:
        """A file as ``show`` takes it, of which no more is decoded than must be."""
        plain = self.kind == "picture" and self.loader is None and self.interpolation == "bilinear" and not self.fill
        return PictureFile(path) if plain else self.read(path)

    def show(self, value: Image.Image | np.ndarray | PictureFile, view: View) -> Image.Image | np.ndarray:
        """The view of what ``read`` or ``undecoded`` gave, as a sample has it; the view is that of scale 1."""
        view = view.times(self.scale)
        if isinstance(value, PictureFile):
            return Image.fromarray(value.show(view))
        assert self.interpolation is not None
        assert self.fill is not None
        shown = show(np.asarray(value), view, None, self.interpolation, self.fill)
        return Image.fromarray(shown) if isinstance(value, Image.Image) else shown


def size_of(value: Any) -> tuple[int, int] | None:
    """Width and height; None of what is neither a picture nor an array of one."""
    if isinstance(value, Image.Image | PictureFile):
        return value.width, value.height
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        return value.shape[1], value.shape[0]
    return None


def _read_mask(path: Path) -> np.ndarray:
    values = _as_mask(stored_values(path), path)
    if is_lossy(path):
        raise DataError(
            f"{path}: a JPEG changes labels; give the masks as PNG, or the role a loader= that makes labels of it"
        )
    return values


def _as_picture(value: Any, path: Path) -> Image.Image:
    if isinstance(value, Image.Image):
        return to_rgb(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[2:] == (3,):
        return Image.fromarray(value)
    raise _wrong(path, value, "picture", "a Pillow picture or uint8 (H, W, 3)")


def _as_gray(value: Any, path: Path) -> Image.Image:
    if isinstance(value, Image.Image):
        return to_rgb(value).convert("L")
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 2:
        return Image.fromarray(value)
    raise _wrong(path, value, "gray", "a Pillow picture or uint8 (H, W)")


def _as_mask(value: Any, path: Path) -> np.ndarray:
    values = picture_values(value) if isinstance(value, Image.Image) else value
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "bui":
        return values.astype(np.int64)
    raise _wrong(path, values, "mask", "one whole number a pixel; colours become labels by a loader= of your own")


def _as_raw(value: Any, path: Path) -> np.ndarray:
    values = picture_values(value) if isinstance(value, Image.Image) else value
    if isinstance(values, np.ndarray) and values.ndim in (2, 3) and values.dtype.kind in "buif":
        return values.astype(np.uint8) if values.dtype == bool else values
    raise _wrong(path, values, "raw", "an array (H, W) or (H, W, C) of numbers")


def _wrong(path: Path, value: Any, kind: str, expected: str) -> DataError:
    array = isinstance(value, np.ndarray)
    found = f"{value.dtype} {value.shape}" if array else f"a {type(value).__name__}"
    return DataError(f"{path}: a role of kind {kind!r} takes {expected}. Found: {found}")


def _check_one_of(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise ConfigError(f"Role: {name} must be one of {', '.join(map(repr, get_args(choices)))}. Found: {value!r}")


_CONVERT: dict[str, Callable[[Any, Path], Any]] = {
    "picture": _as_picture,
    "gray": _as_gray,
    "mask": _as_mask,
    "raw": _as_raw,
}
_READ: dict[str, Callable[[Path], Any]] = {
    "picture": open_picture,
    "gray": lambda path: open_picture(path).convert("L"),
    "mask": _read_mask,
    "raw": lambda path: _as_raw(stored_values(path), path),
}

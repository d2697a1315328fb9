"""Pictures as files hold them, and back: 8 and 16 bits and floats, alpha, and what stands beside the pixels."""

import io
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from .._errors import DataError
from .._files import replace_file
from ._picture import naming, open_as, pixels_of, read_file, to_rgb, upright
from ._stored import ARRAYS, bits_of, stored_values

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_FORMATS = {  # endings, Pillow's name, and whether it takes metadata
    ".png": ("PNG", True), ".jpg": ("JPEG", True), ".jpeg": ("JPEG", True), ".tif": ("TIFF", True),
    ".tiff": ("TIFF", True), ".webp": ("WEBP", True), ".bmp": ("BMP", False), ".ppm": ("PPM", False),
    ".pgm": ("PPM", False), ".pnm": ("PPM", False),
}  # fmt: skip
_LOSSLESS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}
_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop)
_DESCRIPTIVE = {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Orientation,
    ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright, *_FOLDERS,
}  # fmt: skip
_ROWS = 256  # that are compressed at once
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels


@dataclass(frozen=True)
class StoredPicture:
    """A picture as its file has it, upright."""

    values: np.ndarray  # (H, W) or (H, W, 3): uint8, uint16 or float32
    alpha: np.ndarray | None = None  # (H, W), of the same type
    metadata: Mapping[str, Any] = field(default_factory=dict)  # exif, icc_profile, dpi, as Pillow's save takes them


def read_stored(path: str | Path) -> StoredPicture:
    """A picture with the depth that its file has, its alpha apart, and its metadata (EXIF, ICC profile, resolution).

    Palettes and CMYK become RGB; the orientation is applied, and is 1 in the metadata then.

    Raises:
        DataError: as ``open_picture``; or the file has integers of more than 16 bits, or other channels.
    """
    if Path(path).suffix.lower() == ARRAYS:
        return _checked(stored_values(path), {}, path)
    data = read_file(path)
    deep, metadata, picture = open_as(lambda opened: _opened(opened, data), path, data)
    if deep:
        return _checked(stored_values(path), metadata, path)
    values = pixels_of(picture)
    if picture.mode in ("LA", "RGBA"):
        color = values[:, :, 0] if picture.mode == "LA" else values[:, :, :3]
        return StoredPicture(color, values[:, :, -1], metadata)
    return StoredPicture(values, None, metadata)


def write_picture(path: str | Path, picture: StoredPicture | np.ndarray) -> None:
    """Write a picture with its depth, alpha and metadata; the ending says how.

    uint8: .png, .jpg (quality 95, full colour resolution), .tif, .webp (lossless), .bmp, .ppm; uint16: .png, and gray
    .tif; float32: gray .tif; anything: .npy.

    Raises:
        DataError: a file of this ending cannot hold such numbers.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep.png"
    >>> write_picture(path, np.full((4, 6, 3), 40_000, np.uint16))
    >>> read_stored(path).values[0, 0].tolist()
    [40000, 40000, 40000]
    """
    path, stored = Path(path), picture if isinstance(picture, StoredPicture) else StoredPicture(picture)
    ending = path.suffix.lower()
    values = stored.values[:, :, 0] if stored.values.ndim == 3 and stored.values.shape[2] == 1 else stored.values
    whole = values if stored.alpha is None else np.dstack([values, stored.alpha])
    if ending == ARRAYS:
        file = io.BytesIO()
        np.save(file, whole)
        data = file.getvalue()
    elif ending == ".png" and values.dtype == np.uint16:
        data = _deep_png(whole, stored.metadata)
    else:
        data = _by_pillow(whole, ending, stored.metadata, path)
    replace_file(path, data, sync=False)


def writable_name(path: str | Path, values: np.ndarray) -> str:
    """The name of a source, with another ending where a file of its own could not hold what comes out."""
    stem, ending = os.path.splitext(os.path.basename(path))
    gray = values.ndim == 2
    fits = {"f": ending.lower() in (".tif", ".tiff") and gray, "u": ending.lower() in _FORMATS}
    if ending.lower() == ARRAYS or (fits.get(values.dtype.kind) and values.dtype != np.uint16):
        return stem + ending
    if values.dtype == np.uint16:
        return stem + (ending if ending.lower() == ".png" or (gray and ending.lower() in (".tif", ".tiff")) else ".png")
    return stem + (ARRAYS if values.dtype.kind == "f" else ".png")


def _opened(picture: Image.Image, data: bytes) -> tuple[bool, dict[str, Any], Image.Image]:
    metadata = _metadata(picture)
    if picture.mode in _DEEP_MODES or bits_of(picture, data) > 8 or _is_deep_pnm(picture, data):
        return True, metadata, picture
    turned = upright(picture)
    if turned.mode in ("L", "RGB", "LA", "RGBA") and "transparency" not in turned.info:
        return False, metadata, turned
    if turned.has_transparency_data:
        return False, metadata, turned.convert("LA" if turned.mode == "L" else "RGBA")
    return False, metadata, turned.convert("L") if turned.mode == "1" else to_rgb(turned)


def _is_deep_pnm(picture: Image.Image, data: bytes) -> bool:
    return picture.format == "PPM" and int(data[:64].split()[3] if b"#" not in data[:64] else 255) > 255


def _metadata(picture: Image.Image) -> dict[str, Any]:
    """What stands beside the pixels; a damaged block is left out."""
    found = {key: picture.info[key] for key in ("icc_profile", "dpi") if picture.info.get(key)}
    try:
        if exif := _exif(picture):
            found["exif"] = exif.tobytes()
    except Exception:  # Pillow raises nearly anything for a damaged block
        pass
    return found


def _exif(picture: Image.Image) -> Image.Exif:
    """A copy, upright; of a TIFF file without the tags that say how its pixels lie."""
    own, copy = picture.getexif(), Image.Exif()
    for tag in own:
        if tag in _DESCRIPTIVE or picture.format != "TIFF":
            copy[tag] = own.get_ifd(tag) if tag in _FOLDERS else own[tag]
    if ExifTags.Base.Orientation in copy:
        copy[ExifTags.Base.Orientation] = 1
    return copy


def _checked(values: np.ndarray, metadata: Mapping[str, Any], path: str | Path) -> StoredPicture:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.dtype not in (np.uint8, np.uint16) and values.dtype.kind != "f":
        raise DataError(f"{path}: numbers of {values.dtype} have no range that is known; 8 and 16 bits and floats do")
    if values.ndim not in (2, 3) or (channels > 4 and values.dtype.kind != "f"):
        raise DataError(f"{path}: a picture is (H, W) or (H, W, C). Found: {values.shape}")
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    if values.ndim == 3 and channels in (2, 4) and values.dtype.kind == "u":
        color = values[:, :, 0] if channels == 2 else values[:, :, :3]
        return StoredPicture(np.ascontiguousarray(color), np.ascontiguousarray(values[:, :, -1]), metadata)
    return StoredPicture(values[:, :, 0] if channels == 1 and values.ndim == 3 else values, None, metadata)


def _by_pillow(values: np.ndarray, ending: str, metadata: Mapping[str, Any], path: Path) -> bytes:
    if ending not in _FORMATS:
        raise DataError(f"{path}: pictures are written as {', '.join(_FORMATS)} or {ARRAYS}")
    kind, takes_metadata = _FORMATS[ending]
    deep_gray = kind == "TIFF" and values.ndim == 2
    if values.dtype != np.uint8 and not deep_gray:
        raise DataError(
            f"{path}: {values.dtype} {values.shape} does not fit into such a file: 16 bits go into .png, gray ones and "
            "gray floats into .tif, all into .npy"
        )
    options = {**_LOSSLESS.get(kind, {}), **(metadata if takes_metadata else {})}
    file = io.BytesIO()
    with naming(path):
        Image.fromarray(np.ascontiguousarray(values)).save(file, kind, **options)
    return file.getvalue()


def _deep_png(values: np.ndarray, metadata: Mapping[str, Any]) -> bytes:
    """16 bits a channel, which Pillow writes of gray only. Each row is stored as its difference to the one above."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0))]
    if profile := metadata.get("icc_profile"):
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if dpi := metadata.get("dpi"):
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(float(value) / 0.0254) for value in dpi), 1)))
    if exif := metadata.get("exif"):
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", _filtered(values)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _filtered(values: np.ndarray) -> bytes:
    """Rows as their differences, compressed some at a time: large pictures are not held twice."""
    height = values.shape[0]
    packer, packed = zlib.compressobj(6), []
    before: np.ndarray | None = None
    for top in range(0, height, _ROWS):
        part = np.ascontiguousarray(values[top : top + _ROWS], ">u2")
        rows = part.view(np.uint8).reshape(part.shape[0], -1)
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = 2  # "up"
        filtered[:1, 1:] = rows[:1] if before is None else rows[:1] - before
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        before = rows[-1:].copy()
        packed.append(packer.compress(filtered.data))
    return b"".join([*packed, packer.flush()])

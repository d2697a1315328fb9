"""``write_shards``: a dataset into tar archives of the WebDataset format, the same bytes each time. Reads no archives."""

import contextlib
import glob
import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from .._errors import ConfigError, DataError
from .._files import sync_folder
from ._picture import EXTENSIONS, read_file
from ._shard_fields import READ_KINDS
from ._undecoded import PictureFile

_NUMBER = re.compile(r"%0?\d*d")
_SAME_AS = {"jpeg": "jpg", "jpe": "jpg", "tiff": "tif"}
_OTHER_NAMES = {
    "cls": ("class", "cls2", "index", "count", "inx", "id"),
    "txt": ("text", "transcript"),
    "json": ("jsn",),
}


def write_shards(
    dataset: Any,
    pattern: str | Path,
    *,
    samples_per_shard: int | None = 1000,
    bytes_per_shard: int | None = None,
    fields: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a dataset as tar shards that ``Shards``, ``ShardStream`` and the WebDataset library read; returns their paths.

    The same dataset gives the same bytes: samples stand in its order under their number, their files sorted, without
    times and owners. Each shard is there as a whole or not at all.

    Args:
        dataset: anything with ``len`` and ``dataset[index]``. Where it has files (``undecoded``) they are copied as they
            are; other pictures become PNG. A sample is a tuple, a dictionary, or one value.
        pattern: of the shards' names, with the number's place: ``"photos/train-%06d.tar"``, or ``....tar.gz``.
        samples_per_shard: the most of them.
        bytes_per_shard: begin a new shard before its content grows beyond this many bytes.
        fields: the extension of each value. By default by its type: pictures keep that of their file, a whole number is
            "cls", a string "txt", bytes "bin", an array or tensor "npy", all else "json"; a dictionary's names stand
            before them ("image.jpg"), unless they are such extensions.
        overwrite: replace the shards of this pattern, all of them.

    Raises:
        ConfigError: the pattern has no number's place, or a value does not fit its extension.
        DataError: there are shards of this pattern already, or a file cannot be read.

    >>> import tempfile
    >>> [path.name for path in write_shards(["one", "two", "three"], f"{tempfile.mkdtemp()}/%02d.tar", samples_per_shard=2)]
    ['00.tar', '01.tar']
    """
    _check(dataset, str(pattern), samples_per_shard, bytes_per_shard)
    there = _there(str(pattern))
    if there and not overwrite:
        raise DataError(
            f"{there[0]} is there already, and {len(there) - 1} more of {pattern}: choose another name, or overwrite=True"
        )
    written = []
    for shard in _shards(_samples(dataset, fields), samples_per_shard, bytes_per_shard):
        written.append(Path(str(pattern) % len(written)))
        _write(written[-1], shard)
    for path in {*there}.difference(written):  # of an earlier, longer row
        path.unlink()
    return written


Sample = dict[str, bytes]  # member names to contents


def _check(dataset: Any, pattern: str, samples: int | None, size: int | None) -> None:
    name = os.path.basename(pattern)
    if len(_NUMBER.findall(pattern)) != 1 or pattern.count("%") != 1 or not _NUMBER.search(name):
        raise ConfigError(
            f"the shards' names need the place of one number, such as 'train-%06d.tar'. Found: {pattern!r}"
        )
    if not name.endswith((".tar", ".tar.gz", ".tgz")):
        raise ConfigError(f"the shards' names end in .tar, or .tar.gz to have them packed. Found: {pattern!r}")
    for option, value in (("samples_per_shard", samples), ("bytes_per_shard", size)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{option} must be a whole number, 1 or more, or None. Found: {value!r}")
    if not len(dataset):
        raise DataError("the dataset has no samples to write")


def _there(pattern: str) -> list[Path]:
    """Files whose names the pattern makes."""
    folder, name = os.path.split(pattern)
    before, after = _NUMBER.split(name)
    found = glob.glob(f"{glob.escape(os.path.join(folder, before))}*{glob.escape(after)}")
    middle = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
    numbers = ((path, middle.fullmatch(os.path.basename(path))) for path in sorted(found))
    return [Path(path) for path, match in numbers if match and name % int(match[1]) == os.path.basename(path)]


def _samples(dataset: Any, fields: Sequence[str] | None) -> Iterator[Sample]:
    digits = max(6, len(str(len(dataset) - 1)))
    undecoded = getattr(dataset, "undecoded", None)
    for index in range(len(dataset)):
        sample = dataset[index] if undecoded is None else _with_path(undecoded(index))
        files = _files(sample, fields, f"sample {index}")
        yield {f"{index:0{digits}}.{extension}": files[extension] for extension in sorted(files)}


def _with_path(sample: Any) -> Any:
    """A sample that is not decoded begins with its picture's path, which may be a string: here those are texts."""
    if isinstance(sample, tuple) and sample and isinstance(sample[0], str):
        return (Path(sample[0]), *sample[1:])
    return sample


def _files(sample: Any, fields: Sequence[str] | None, place: str) -> dict[str, bytes]:
    """The files of a sample, by extension."""
    if isinstance(sample, Mapping):
        names, values = list(map(str, sample)), list(sample.values())
    else:
        values = list(sample) if isinstance(sample, tuple | list) else [sample]
        names = [""] * len(values)
    if fields is not None:
        if len(fields) != len(values):
            raise ConfigError(f"{place} has {len(values)} values, and fields= {len(fields)}: {', '.join(fields)}")
        names = [field.lower() for field in fields]
    files: dict[str, bytes] = {}
    for name, value in zip(names, values, strict=True):
        kind, data = _encoded(value)
        extension = _extension(name, kind, place, given=fields is not None)
        if extension in files:
            raise ConfigError(
                f"{place} has two values for .{extension}: name them, such as fields=('jpg', 'mask.png', 'cls')"
            )
        files[extension] = data
    return files


def _encoded(value: Any) -> tuple[str, bytes]:
    """What a value is by itself, and its bytes."""
    if isinstance(value, PictureFile):
        path, data = value.file
        return _picture_kind(path), data
    if isinstance(value, Path):
        return _picture_kind(value), read_file(value)
    if isinstance(value, Image.Image) or hasattr(value, "picture"):
        return "png", _png(value if isinstance(value, Image.Image) else value.picture())
    if isinstance(value, bytes):
        return "bin", value
    if isinstance(value, str):
        return "txt", value.encode("utf-8")
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return "cls", str(int(value)).encode("ascii")
    if isinstance(value, np.ndarray | Tensor):
        return "npy", _npy(value.numpy(force=True) if isinstance(value, Tensor) else value)
    try:
        return "json", json.dumps(value, ensure_ascii=False, sort_keys=True).encode("utf-8")
    except TypeError as error:
        raise DataError(f"a {type(value).__name__} cannot be written into a shard ({error})") from None


def _extension(name: str, kind: str, place: str, *, given: bool) -> str:
    """The name where it says what the file is, else the name and what it is."""
    last = name.rpartition(".")[2].lower()
    known = _SAME_AS.get(last, last) == kind or last in _OTHER_NAMES.get(kind, ())
    if given and not (known or kind == "bin"):
        raise ConfigError(
            f"{place}: its value for .{name} is {kind} content: say so in fields=, such as '{name}.{kind}'"
        )
    if "/" in name or name.startswith("."):
        raise ConfigError(f"{place}: {name!r} cannot be an extension")
    keeps = known or given or (kind == "bin" and last in READ_KINDS)
    return name.lower() if name and keeps else f"{name}.{kind}".lstrip(".").lower()


def _picture_kind(path: str | Path) -> str:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in EXTENSIONS:
        raise DataError(f"{path}: of a kind that is no picture's: {', '.join(sorted(EXTENSIONS))}")
    return _SAME_AS.get(suffix[1:], suffix[1:])


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    try:
        np.save(file, array, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"an array of {array.dtype} cannot be written into a shard ({error})") from None
    return file.getvalue()


def _shards(samples: Iterator[Sample], most: int | None, most_bytes: int | None) -> Iterator[Iterator[Sample]]:
    """Rows of samples, each to be used up before the next is asked for."""
    ahead = next(samples, None)

    def row() -> Iterator[Sample]:
        nonlocal ahead
        count = size = 0
        while ahead is not None:
            size += sum(map(len, ahead.values()))
            if count and ((most and count >= most) or (most_bytes and size > most_bytes)):
                return
            count += 1
            now, ahead = ahead, None
            yield now
            ahead = next(samples, None)

    while ahead is not None:
        yield row()


def _write(path: Path, samples: Iterator[Sample]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole_file(path) as file, _packed(path, file) as out, tarfile.open(fileobj=out, mode="w") as tar:
        for sample in samples:
            for name, data in sample.items():
                member = tarfile.TarInfo(name)  # its times, owners and rights are the same for all
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@contextlib.contextmanager
def _packed(path: Path, file: BinaryIO) -> Iterator[Any]:
    """The file itself, or gzip into it, without a name and a time."""
    if path.suffix == ".tar":
        yield file
        return
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        yield packed


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when it is written and flushed to disk, and leaves nothing behind otherwise."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

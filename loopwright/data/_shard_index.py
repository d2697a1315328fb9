"""Where each member of a plain shard lies: one pass over its headers, which can be kept in a small file beside it."""

import contextlib
import io
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._errors import DataError
from .._files import open_unlinked, read_within, replace_file
from ._npy import array_of
from ._shard_samples import ShardFault, ShardSample, shard_samples
from ._tar import Archive, BrokenTar, Member

SUFFIX = ".index"
_CODE = "utf-8", "surrogateescape"
_VERSION = 1
_LARGEST = 2**30  # bytes of an index; of a shard of some 20 million files
_READERS = 8  # threads: on a network's disk the time goes to waiting


class ShardIndex(NamedTuple):
    """The samples of one shard, in its order, and what is wrong with it."""

    stamp: tuple[int, int]  # size in bytes and time of change in nanoseconds, as the shard was
    samples: list[ShardSample]
    faults: list[str]


def stamp_of(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def read_indices(paths: list[Path], *, keep: bool) -> Iterator[ShardIndex]:
    """The index of each shard, several read at once.

    Args:
        keep: use the file beside a shard where it is still true, else write it.

    Raises:
        DataError: a shard is packed, or cannot be opened.
    """
    with ThreadPoolExecutor(min(_READERS, len(paths))) as pool:
        yield from pool.map(lambda path: _read_index(path, keep), paths)


def _read_index(path: Path, keep: bool) -> ShardIndex:
    try:
        stamp = stamp_of(os.stat(path))
        if keep and (members := _kept(path, stamp)) is not None:
            return _index(stamp, members, path)
        with Archive(path) as archive:
            if archive.packing:
                raise DataError(
                    f"{path} is packed by {archive.packing}, so its samples can only be had in turn: use lw.ShardStream, or "
                    "unpack it"
                )
            index = _index(stamp, archive, path)
    except BrokenTar as error:
        return ShardIndex((0, 0), [], [f"{path}: {error}"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if keep and not index.faults:
        _keep(path, index)
    return index


def _index(stamp: tuple[int, int], members: Iterable[Member], path: Path) -> ShardIndex:
    found = list(shard_samples(members, str(path)))
    samples = [one for one in found if isinstance(one, ShardSample)]
    return ShardIndex(stamp, samples, [one.message for one in found if isinstance(one, ShardFault)])


def _keep(path: Path, index: ShardIndex) -> None:
    members = [member for sample in index.samples for member in sample.members.values()]
    names = "\0".join(member.name for member in members).encode(*_CODE)
    places = np.array([member[1:3] for member in members], np.int64).reshape(-1, 2)
    about = np.array([_VERSION, *index.stamp], np.int64)
    file = io.BytesIO()
    np.savez(file, about=about, names=np.frombuffer(names, np.uint8), places=places)
    try:
        replace_file(_beside(path), file.getvalue(), sync=False)
    except OSError as error:
        raise DataError(
            f"{_beside(path)}: cannot be written ({error.strerror}); keep_index=False does without it"
        ) from None


def _kept(path: Path, stamp: tuple[int, int]) -> list[Member] | None:
    """The members as they were written down; None where nothing was, or the shard has changed since."""
    with contextlib.suppress(
        OSError, ValueError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile
    ):  # what zipfile raises for a damaged file
        about, names, places = _arrays(
            read_within(open_unlinked(_beside(path)), _LARGEST), ("about", "names", "places")
        )
        if about.tolist() == [_VERSION, *stamp] and _lie_within(places, stamp[0]):
            texts = names.tobytes().decode(*_CODE).split("\0") if len(places) else []
            return [Member(name, *place) for name, place in zip(texts, places.tolist(), strict=True)]
    return None


def _arrays(data: bytes, names: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of a file of ``np.savez``, which packs nothing: what is packed may fill the memory."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [archive.getinfo(f"{name}.npy") for name in names]
        if any(member.compress_type or member.file_size > len(data) for member in members):
            raise ValueError("its arrays are packed")
        return [array_of(archive.read(member)) for member in members]


def _lie_within(places: np.ndarray, size: int) -> bool:
    """Whether they are places, int64 (n, 2), in a shard of so many bytes."""
    if places.dtype != np.int64 or places.ndim != 2 or places.shape[1] != 2:
        return False
    offsets, sizes = places[:, 0], places[:, 1]
    return bool(((offsets >= 0) & (sizes >= 0) & (offsets <= size) & (sizes <= size - offsets)).all())


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)

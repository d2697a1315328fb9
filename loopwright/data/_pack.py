"""``pack``: a data set into one file. Parallel, and goes on where it was interrupted; ``Packed`` reads the result."""

import contextlib
import hashlib
import inspect
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._cores import cores
from .._errors import ConfigError, DataError
from .._progress import Screen, bar, choose_screen, seconds_text
from ._folder import ImageFolder
from ._open import SUFFIX, open_data
from ._pack_file import PackWriter, sole_writer, tidy
from ._packed import Packed
from ._packed_pairs import FORMAT, PackedPairs, pair_record, role_facts
from ._recipe import Recipe
from ._row_split import has_split
from ._rows import is_table
from ._undecoded import PictureFile

Record = tuple[np.ndarray, int, int]
_FLUSHED_EVERY = 256  # records


def pack(
    dataset: Any,
    path: str | Path,
    *,
    size: int | None = None,
    crop: bool = False,
    format: Literal["raw", "jpeg"] = "raw",
    quality: int = 90,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Any:
    """Decode a data set once, into a file that is read many times as fast; returns the data set in it.

    Of ``PairedFolders`` (``PackedPairs`` comes back) all pictures of a sample go in as they are: gray, 16 bits, floats and
    masks too, at their own size.

    Interrupted, it goes on when it is called again. A pack that is there already, of the same pictures and made the same
    way, is not made again.

    Args:
        dataset: a folder of class folders, or a dataset with ``undecoded`` (``ImageFolder``, ``Table``): its pictures
            and targets are packed in its order; or ``PairedFolders``.
        path: of the file.
        size: the short side of the stored pictures, at most, in pixels. Default: as they are. For training at 224 pixels
            256 is customary.
        crop: keep the central square only, so that all records are alike.
        format: ``"raw"`` (fastest) or ``"jpeg"`` (a tenth of the size).
        quality: of ``"jpeg"``.
        workers: threads. Default: one a core.
        overwrite: replace a pack that is of other pictures or made another way.
        progress: draw it; default: if the output is a terminal.

    Raises:
        DataError: a picture cannot be read (the dataset's ``on_error="skip"`` leaves it out), or there is another pack.
    """
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a folder: give the file a name in it, such as {Path(path, 'train' + SUFFIX)}")
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ConfigError(f"workers must be a whole number, 1 or more, or None. Found: {workers!r}")
    source = ImageFolder(dataset) if isinstance(dataset, str | Path) else dataset
    pairs = hasattr(source, "roles") and hasattr(source, "files")
    if not pairs and not hasattr(source, "undecoded"):
        raise ConfigError(f"a {type(source).__name__} has no files to pack; lw.Cached keeps the samples of any dataset")
    recipe, target = Recipe(size, crop, format, quality), Path(path)
    packing = _PairPacking(source, recipe) if pairs else _Packing(source, recipe)
    if not overwrite and packing.is_made(target):
        tidy(target)
        return PackedPairs(target) if pairs else Packed(target)
    screen = choose_screen(progress, sys.stdout)
    with _naming(target), sole_writer(target, lambda: screen.draw([f"pack: another process writes {target}; waiting"])):
        if overwrite or not packing.is_made(target):  # by now: another may have done it
            with PackWriter(target, packing.facts) as writer:
                _fill(writer, packing, workers or cores(), screen)
                writer.finish(*packing.contents())
    screen.erase()
    return PackedPairs(target) if pairs else Packed(target, check_source=False)


def pack_folder(source: str | Path, folder: str | Path, /, **options: Any) -> list[Packed]:
    """Pack a folder of pictures, or those of a table: ``FOLDER/train.pack``, ``val.pack`` and, if it has one, ``test.pack``.

    A validation part is held out as ``ImageFolder`` does it where there is none. ``loopwright train data=FOLDER`` reads
    them.

    Args:
        options: of ``pack``, and ``holdout`` and ``on_error`` of ``ImageFolder``; of a table those of ``Table``, without
            ``weight``, which a pack does not keep.
    """
    ours = {key: options.pop(key) for key in [*options] if key not in inspect.signature(pack).parameters}
    if ours.get("weight") is not None:
        raise ConfigError("weight: a pack keeps no weights: train from the table, or leave it out")
    splits = _parts_of_table(source, ours) if is_table(source) else _parts_of_folder(source, ours)
    return [pack(part, Path(folder) / f"{split}{SUFFIX}", **options) for split, part in splits.items()]


def _parts_of_folder(root: str | Path, options: dict[str, Any]) -> dict[str, Any]:
    splits = {split: ImageFolder(root, split=split, **options) for split in ("train", "val")}
    with contextlib.suppress(DataError):
        splits["test"] = ImageFolder(root, split="test", **options)
    return splits


def _parts_of_table(path: str | Path, options: dict[str, Any]) -> dict[str, Any]:
    where = {name: options[key] for key, name in (("split_column", "column"), ("delimiter",) * 2) if key in options}
    splits = ("train", "val", "test") if has_split(path, "test", **where) else ("train", "val")
    return {split: open_data(path, split, **options) for split in splits}


class _Packing:
    """What goes into a pack: the source's facts, and the records made from them."""

    def __init__(self, source: Any, recipe: Recipe) -> None:
        self._recipe = recipe
        samples = [source.undecoded(index) for index in range(len(source))]
        if samples and not isinstance(samples[0][0], str | os.PathLike):
            raise ConfigError(f"the pictures of {source!r} are in no files of their own: pack what it was made from")
        self.paths: list[Any] = [os.path.abspath(path) for path, _ in samples]
        self._targets = _stacked([target for _, target in samples])
        skip = getattr(source, "on_error", "raise") == "skip"
        self._stats = np.array([_stat(path, skip) for path in self.paths], np.int64).reshape(-1, 2)
        self._root, self._names = _below_one(self.paths)
        self._left_out: dict[int, str] = {}
        self.facts = {
            "recipe": recipe.facts(),
            "classes": list(getattr(source, "classes", [])),
            "on_error": getattr(source, "on_error", "raise"),
            "source": _digest(self._names, self._stats, self._targets),
        }

    def is_made(self, path: Path) -> bool:
        """Whether there is a pack, and it is this one; ``DataError`` says what it differs in."""
        if not os.path.exists(path):
            return False
        try:
            made = self._opened(path)
        except DataError as error:
            raise DataError(f"{error}; overwrite=True (--overwrite) replaces it") from None
        if made.recipe != self.facts["recipe"]:
            raise DataError(
                f"{path} is there already, made with {made.recipe}, not {self.facts['recipe']}: give this pack another "
                "name, or say overwrite=True (--overwrite)"
            )
        if made._file.facts["source"] != self.facts["source"] and not self._is_copied(made):
            raise DataError(
                f"{path} is there already, made of {len(made)} pictures that are not these {len(self.paths)}, or were "
                "changed since: say overwrite=True (--overwrite) to make it anew"
            )
        return True

    def _opened(self, path: Path) -> Any:
        return Packed(path, check_source=False)

    def _is_copied(self, made: Any) -> bool:
        """Whether a pack is of the same pictures, which have other times only."""
        same = made._names == self._names and np.array_equal(made._targets, self._targets)
        return same and not made.changed(self.paths)

    def record(self, index: int) -> Record | str:
        """The record of one picture, or why it is left out."""
        try:
            return self._make(index)
        except DataError as error:
            if self.facts["on_error"] == "skip":
                return str(error)
            raise

    def _make(self, index: int) -> Record:
        return self._recipe.make(PictureFile(self.paths[index]))

    def leave_out(self, index: int, message: str) -> None:
        self._left_out[index] = message

    def go_behind(self, sources: list[int]) -> int:
        """The place to go on at, when there are records of these pictures; those missing between them are left out."""
        start = sources[-1] + 1 if sources else 0
        for index in set(range(start)).difference(sources):
            self.leave_out(index, str(self.record(index)))
        return start

    def contents(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What a pack holds beside the records: arrays and facts of the pictures that are in it."""
        kept = [index for index in range(len(self.paths)) if index not in self._left_out]
        skipped = [self._left_out[index] for index in sorted(self._left_out)]
        names = [self._names[index] for index in kept]
        arrays = {"targets": self._targets[kept], "stats": self._stats[kept]}
        return arrays, {**self.facts, "root": self._root, "names": names, "skipped": skipped}


class _PairPacking(_Packing):
    """The same of samples of several pictures, which are packed as they are."""

    def __init__(self, source: Any, recipe: Recipe) -> None:
        if recipe != Recipe():
            raise ConfigError(
                "pairs are packed as they are, since what is done to one picture would have to be done to all: leave size, "
                "crop, format and quality out"
            )
        self._source = source
        self.paths = list(range(len(source)))
        self._left_out: dict[int, str] = {}
        files = [source.files(index) for index in self.paths]
        self._names = [source.name_of(index) for index in self.paths]
        skip = source.on_error == "skip"
        places = [[os.path.abspath(path) for path in sample.values()] for sample in files]
        self._stats = np.array([[_stat(path, skip) for path in sample] for sample in places], np.int64)
        named = [f"{role}\0{path}" for sample in places for role, path in zip(source.roles, sample, strict=True)]
        below = [_below_one(paths)[1] for paths in zip(*places, strict=True)]
        self.facts = {
            "recipe": {"format": FORMAT},
            "roles": role_facts(source.roles),
            "on_error": source.on_error,
            "source": _digest(named, self._stats, np.zeros(0)),
            "files": _digest([name for names in below for name in names], np.zeros(0), np.zeros(0)),
        }

    def _opened(self, path: Path) -> Any:
        return PackedPairs(path)

    def _is_copied(self, made: Any) -> bool:
        alike = made._file.facts.get("files") == self.facts["files"] and made.names == self._names
        return (
            alike
            and _as_read(made._file.facts["roles"]) == _as_read(self.facts["roles"])
            and not made.changed(self._source)
        )

    def _make(self, index: int) -> Record:
        return pair_record(self._source[index])

    def contents(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        kept = [index for index in self.paths if index not in self._left_out]
        skipped = [self._left_out[index] for index in sorted(self._left_out)]
        arrays, names = {"stats": self._stats[kept]}, [self._names[index] for index in kept]
        return arrays, {**self.facts, "names": names, "skipped": skipped}


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What keeps a pack from being written becomes a ``DataError`` that names it."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise DataError(
            f"{path} cannot be written ({place}{error.strerror}): give another place, or see to this one and pack again. "
            "What was packed until now is kept beside it, and goes on there"
        ) from error


def _fill(writer: PackWriter, packing: _Packing, workers: int, screen: Screen) -> None:
    """Add the records that are missing, in their order."""
    total = len(packing.paths)
    begun = packing.go_behind([entry[-1] for entry in writer.index])
    began = drawn = time.perf_counter()
    for index, made in _made(packing, begun, workers):
        if isinstance(made, str):
            packing.leave_out(index, made)
        else:
            writer.add(index, *made)
        if index % _FLUSHED_EVERY == 0:
            writer.flush()
        now = time.perf_counter()
        if now - drawn >= screen.seconds:
            drawn, done, rate = now, index + 1, (index + 1 - begun) / (now - began)
            left = seconds_text((total - done) / rate)
            screen.draw([f"pack {bar(done, total)} {done}/{total}  {rate:.0f} pictures/s  {left} left"])


def _made(packing: _Packing, start: int, workers: int) -> Iterator[tuple[int, Record | str]]:
    """The records from a place on, made by threads a little ahead of being taken."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[tuple[int, Future[Record | str]]] = []
        indices = iter(range(start, len(packing.paths)))
        try:
            waiting += [(index, pool.submit(packing.record, index)) for index in islice(indices, 4 * workers)]
            while waiting:
                index, future = waiting.pop(0)
                yield index, future.result()
                waiting += [(more, pool.submit(packing.record, more)) for more in islice(indices, 1)]
        finally:
            for _, future in waiting:
                future.cancel()


def _stacked(targets: list[Any]) -> np.ndarray:
    arrays = [np.asarray(target) for target in targets]
    if any(array.dtype.kind not in "iufb" or array.shape != arrays[0].shape for array in arrays):
        raise DataError("the targets of a pack must be numbers, or tensors of one shape")
    return np.stack(arrays) if arrays else np.zeros(0, np.int64)


def _below_one(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all are below, and their names there."""
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return root, [os.path.relpath(path, root) for path in paths]


def _as_read(roles: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a pack keeps of roles, wherever their folders are."""
    return {name: {key: value for key, value in facts.items() if key != "folder"} for name, facts in roles.items()}


def _stat(path: str, skip: bool) -> tuple[int, int]:
    """Size and time of a file; of one that is gone nothing, where such are left out."""
    try:
        found = os.stat(path)
    except OSError as error:
        if skip:
            return -1, -1
        raise DataError(
            f"{path}: {'no such picture' if isinstance(error, FileNotFoundError) else error.strerror}"
        ) from None
    return found.st_size, found.st_mtime_ns


def _digest(names: list[str], stats: np.ndarray, targets: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in ("\0".join(names).encode("utf-8", "surrogateescape"), stats.tobytes(), targets.tobytes()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()

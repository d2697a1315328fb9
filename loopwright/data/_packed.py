"""``Packed``: a data set in one file, mapped into memory. Reads packs; ``_pack`` makes them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._errors import ConfigError, DataError
from ._changes import changed_records
from ._pack_file import PackReader
from ._part import one
from ._picture import too_large
from ._recipe import Recipe
from ._shared import SharedMemory
from ._undecoded import PictureFile
from ._view import Pixels, Viewable


class Packed:
    """The pictures and targets of a pack, as a map-style dataset of (RGB picture, target).

    All processes and runs share its pages; nothing is read before it is used. Each record is checked against its
    checksum when it is first read.

    Args:
        path: a file that ``lw.pack`` or ``loopwright pack`` made.
        recipe: what the pack must have been made with, as arguments of ``lw.pack``: ``{"size": 256}``.
        check_source: notice source files that changed since, where they are still there.

    Raises:
        DataError: the file is missing, damaged, of another recipe, or its source has changed.

    >>> import tempfile, loopwright as lw
    >>> photos = lw.ImageFolder(lw.demo_photos(), split="val")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     packed = lw.pack(photos, f"{folder}/val.pack", size=64, crop=True, progress=False)
    >>> len(packed) == len(photos), packed[0][0].size, packed[0][1] == photos[0][1]
    (True, (64, 64), True)
    """

    def __init__(self, path: str | Path, *, recipe: dict[str, Any] | None = None, check_source: bool = True) -> None:
        self._file = PackReader(path)
        facts = self._file.facts
        _check(self._file)
        self.path, self.recipe, self.on_error = self._file.path, facts["recipe"], facts["on_error"]
        different = {key: value for key, value in (recipe or {}).items() if self.recipe.get(key) != value}
        if different:
            has = ", ".join(f"{key}={self.recipe.get(key)!r}" for key in different)
            asked = ", ".join(f"{key}={value!r}" for key, value in different.items())
            raise DataError(f"{path}: packed with {has}, asked for {asked}: pack it again, or take it as it is")
        self.classes: list[str] = facts["classes"]
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}
        self.skipped: list[str] = facts["skipped"]
        self._targets, self._names = self._file.array("targets"), facts["names"]
        self._raw = self.recipe["format"] == "raw"
        self._read = SharedMemory(len(self)).bytes  # which records were checked, by this process or its children
        if check_source:
            self._check_source()

    def __len__(self) -> int:
        return len(self._file.entries)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        picture, target = self.undecoded(one(self, index))
        return picture.picture(), target

    def undecoded(self, index: int) -> tuple[Viewable, Any]:
        """The sample with its stored pixels, or its file, in place of the picture."""
        if self._raw:
            return Pixels(self.pixels(index)), self._target(index)
        return PictureFile(self.name_of(index), self._record(index).tobytes()), self._target(index)

    def pixels(self, index: int) -> np.ndarray:
        """The stored pixels of a ``"raw"`` pack: uint8 (H, W, 3), a view of the file."""
        _, _, height, width = self._file.entries[index]
        return self._record(index).reshape(height, width, 3)

    def targets(self, indices: np.ndarray) -> list[Any]:
        """The targets of some samples."""
        return self._targets[indices].tolist() if self._targets.ndim == 1 else [self._target(i) for i in indices]

    @cached_property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of every picture, where all are alike and stored as pixels."""
        sides = {entry[2:] for entry in self._file.entries} if self._raw else set()
        return next(iter(sides)) if len(sides) == 1 else None

    @cached_property
    def pictures(self) -> np.ndarray | None:
        """All stored pixels, uint8 (samples, H, W, 3), where ``sides`` are and records follow each other evenly: a view
        of the file, to be asked ``check`` about before it is used."""
        if self.sides is None or (records := self._file.evenly()) is None:
            return None
        return records.reshape(len(records), *self.sides, 3)

    def check(self, index: int) -> None:
        """See that a record is what was written, when it is first read.

        Raises:
            DataError: it is not.
        """
        if not self._read[index]:
            if not self._file.is_whole(index):
                raise DataError(f"{self.name_of(index)}: its record in {self.path} is damaged; pack it again")
            self._read[index] = 1

    @property
    def labels(self) -> list[int]:
        """Class indices, in the samples' order."""
        return self._targets.tolist()

    def counts(self) -> dict[str, int]:
        """Pictures a class."""
        counted = Counter(self.labels)
        return {name: counted[index] for index, name in enumerate(self.classes)}

    def name_of(self, index: int) -> str:
        """The file that the sample was made from."""
        return os.path.join(self._file.facts["root"], self._names[index])

    def verify(self) -> list[str]:
        """Read everything; the names of the damaged records."""
        return [self.name_of(index) for index in range(len(self)) if not self._file.is_whole(index)]

    def _record(self, index: int) -> np.ndarray:
        """The bytes of a record, checked when it is first read."""
        self.check(index)
        return self._file.record(index)

    def _target(self, index: int) -> Any:
        target = self._targets[index]
        return target.item() if target.ndim == 0 else torch.from_numpy(np.array(target))

    def changed(self, files: Sequence[str] | None = None) -> list[str]:
        """The source files that are not what was packed: of another size, or of another time and another content.

        A data set that was copied has other times throughout: of such files some are packed anew, in memory, and compared.

        Args:
            files: where the source is now, in the samples' order. Default: where it was. What is not there has not changed.
        """
        name = self.name_of if files is None else files.__getitem__
        found = changed_records(
            self._file.array("stats")[:, None],
            lambda index: [name(index)],
            lambda index: self._is_made_of(name(index), index),
        )
        return [name(index) for index in found]

    def _is_made_of(self, file: str, index: int) -> bool:
        try:
            recipe, picture = Recipe.of(self.recipe), PictureFile(file)
            view = recipe.view(picture.width, picture.height)
            if (view.height, view.width) != self._file.entries[index][2:] or too_large(view.width, view.height):
                return False  # a strange pack says what size its pictures have
            return np.array_equal(recipe.make(picture)[0], self._file.record(index))
        except (ConfigError, DataError):
            return False

    def _check_source(self) -> None:
        if changed := self.changed():
            raise DataError(
                f"{self.path}: {len(changed)} source files have changed since it was packed, such as {changed[0]}. Pack it "
                "again with overwrite, or open it with check_source=False"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], check_source=False)

    def __repr__(self) -> str:
        made = ", ".join(f"{key}={value!r}" for key, value in self.recipe.items() if value)
        return f"Packed({str(self.path)!r}): {len(self)} pictures of {len(self.classes)} classes, {made}"


def _check(file: PackReader) -> None:
    """A pack may be a stranger's: what it says of itself has to fit together."""
    fault = next((what for what, is_right in _laws(file) if not is_right), None)
    if fault is not None:
        raise DataError(f"{file.path}: damaged ({fault}); pack it again")


def _laws(file: PackReader) -> Iterator[tuple[str, bool]]:
    """What has to hold, in an order in which each may rely on those before it."""
    facts, count = file.facts, len(file.entries)
    yield "it does not say how it was made", isinstance(facts.get("recipe"), dict)
    yield "its samples are pairs: lw.PackedPairs reads them", facts["recipe"].get("format") != "pairs"
    yield "its records are of no known format", facts["recipe"].get("format") in ("raw", "jpeg")
    yield "it does not say what to do with errors", facts.get("on_error") in ("raise", "skip")
    yield "its classes are no names", _are_texts(facts.get("classes"))
    yield "its list of what was left out is none", _are_texts(facts.get("skipped"))
    yield "its root is no folder's name", _are_texts([facts.get("root")])
    yield "its names are none", _are_texts(facts.get("names"))
    yield "it has other names than records", len(facts["names"]) == count
    targets, stats = file.array("targets"), file.array("stats")
    yield "it has other targets than records", targets.ndim > 0 and len(targets) == count
    labels = targets if facts["classes"] and targets.ndim == 1 and targets.dtype.kind in "iu" else np.zeros(1)
    yield "a target is no class", not len(labels) or 0 <= labels.min() <= labels.max() < max(1, len(facts["classes"]))
    yield "it has other sources than records", stats.shape == (count, 2) and stats.dtype.kind in "iu"
    sizes = (height * width * 3 == size for _, size, height, width in file.entries)
    yield "its pixels are not those of its pictures", facts["recipe"]["format"] != "raw" or all(sizes)


def _are_texts(values: Any) -> bool:
    """Whether they are a list of what may be the names of files: the system can be asked for them."""
    try:
        return isinstance(values, list) and all(b"\0" not in os.fsencode(value) for value in values)
    except (TypeError, UnicodeEncodeError):
        return False

"""``Cutter``: parts of stored pictures that are all alike, placed for many at once and then only copied."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .._errors import DataError
from .._seed import sample_uniforms
from ._transforms import Cut
from ._view import lines, lines_of_parts, mirrored

try:
    from . import _crop_copy
except ImportError:  # not compiled here: see _by_lines
    _crop_copy = None

# To which place, of which picture, from which column and row, mirrored?
Take = Callable[[int, int, int, int, bool], None]


class Cutter:
    """Copies the parts that a geometry takes of a dataset's pictures.

    Args:
        dataset: one that says ``pictures``, ``check`` and ``targets``, as ``Packed`` does.
        geometry: whose ``place`` tells all.
    """

    def __init__(self, dataset: Any, geometry: Cut) -> None:
        self._dataset, self._geometry = dataset, geometry
        _, self._height, self._width, _ = dataset.pictures.shape
        self._wide, self._high = geometry.part(self._width, self._height)

    def __reduce__(self) -> tuple[type["Cutter"], tuple[Any, Cut]]:
        return Cutter, (self._dataset, self._geometry)  # and nothing that lies in the file

    def show(
        self,
        seed: int,
        epoch: int,
        indices: Sequence[int],
        out: np.ndarray,
        note: Callable[[int], None],
        stand_in: Callable[[DataError, int], Any],
    ) -> list[Any]:
        """Put the parts of some samples into ``out``, uint8 (samples, H, W, 3); what else these samples hold comes back.

        Args:
            note: told each one's place in ``out`` before it is begun.
            stand_in: given what is wrong with a sample's record and its index, says what stands for the sample; or raises.
        """
        numbers = np.array(indices)
        drawn = sample_uniforms(seed, epoch, numbers, self._geometry.draws)
        lefts, tops, flips = (each.tolist() for each in self._geometry.place(self._width, self._height, drawn))
        rests: list[Any] = [[target] for target in self._dataset.targets(numbers)]
        check, take = self._dataset.check, self._compiled(out) if _crop_copy is not None else self._by_lines(out)
        for number, (index, left, top, flip) in enumerate(zip(indices, lefts, tops, flips, strict=True)):
            note(number)
            try:
                check(index)
            except DataError as error:
                rests[number] = stand_in(error, index)
                continue
            take(number, index, left, top, flip)
        return rests

    def _compiled(self, out: np.ndarray) -> Take:
        copy, pictures, wide, high = _crop_copy.copy, self._dataset.pictures, self._wide, self._high  # type: ignore

        def take(number: int, index: int, left: int, top: int, flip: bool) -> None:
            copy(pictures[index, top : top + high, left : left + wide], out[number], flip, True)

        return take

    def _by_lines(self, out: np.ndarray) -> Take:
        parts, rooms = self._parts, self._lines(out)

        def take(number: int, index: int, left: int, top: int, flip: bool) -> None:
            rooms[number] = self._mirrored(index, left, top) if flip else parts[index, top, left]

        return take

    @cached_property
    def _parts(self) -> np.ndarray:
        """Looked at when the first are placed, which says it where a part is larger than the pictures."""
        return lines_of_parts(self._dataset.pictures, self._high, self._wide)

    def _mirrored(self, index: int, left: int, top: int) -> np.ndarray:
        part = self._dataset.pictures[index, top : top + self._high, left : left + self._wide]
        return self._lines(mirrored(part)[None])[0]

    def _lines(self, pictures: np.ndarray) -> np.ndarray:
        return lines(pictures, 1 if self._wide == self._width else self._high)

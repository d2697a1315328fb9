"""``Board``: the memory that a loop and its readers share: slots for batches, and what each is to hold. Decides nothing."""

import math
from typing import NamedTuple

import numpy as np

from ._samples import BatchKey
from ._shared import SharedMemory

_WORD = 2**64 - 1


class Part(NamedTuple):
    """Rows ``start`` to ``stop`` of the batch in a slot, for the iteration ``turn``: what one reader fills at a time."""

    turn: int
    slot: int
    start: int
    stop: int


class Board:
    """Slots of pictures, and beside each the key of its batch; and which iteration is going on.

    The loop writes keys and the turn, readers write pictures; a slot has one writer at a time, by the loop's orders.

    Args:
        slots, batch_size, height, width: of ``pictures``, uint8 (slots, batch size, height, width, 3).

    >>> board = Board(2, 4, 8, 8)
    >>> board.write(1, BatchKey(seed=0, epoch=3, indices=(5, 9, 2)))
    >>> board.read(Part(turn=0, slot=1, start=1, stop=3))
    BatchKey(seed=0, epoch=3, indices=(9, 2))
    """

    def __init__(self, slots: int, batch_size: int, height: int, width: int) -> None:
        self.pictures = _shared((slots, batch_size, height, width, 3), np.dtype(np.uint8))
        self._indices = _shared((slots, batch_size), np.dtype(np.int64))
        self._places = _shared((slots, 3), np.dtype(np.uint64))  # seed, epoch, samples
        self._turn = _shared((1,), np.dtype(np.int64))

    @property
    def turn(self) -> int:
        """The iteration that goes on: parts of others need not be filled any more."""
        return int(self._turn[0])

    @turn.setter
    def turn(self, turn: int) -> None:
        self._turn[0] = turn

    def write(self, slot: int, key: BatchKey) -> None:
        """Say what a slot is to hold."""
        self._places[slot] = (key.seed & _WORD, key.epoch & _WORD, len(key.indices))
        self._indices[slot, : len(key.indices)] = key.indices

    def read(self, part: Part) -> BatchKey:
        """What some rows of a slot are to hold."""
        seed, epoch, _ = self._places[part.slot].tolist()
        return BatchKey(seed, epoch, tuple(self._indices[part.slot, part.start : part.stop].tolist()))

    def whole(self, slot: int) -> Part:
        """All rows of the batch in a slot."""
        return Part(self.turn, slot, 0, int(self._places[slot, 2]))

    def rows(self, part: Part) -> np.ndarray:
        """The place for the pictures of a part: uint8 (stop - start, H, W, 3)."""
        return self.pictures[part.slot, part.start : part.stop]


def _shared(shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    return np.frombuffer(SharedMemory(math.prod(shape) * kind.itemsize).bytes, kind).reshape(shape)

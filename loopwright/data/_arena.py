"""``Arena``: items of bytes in memory that processes share, within a limit. Knows nothing about what the bytes mean.

    words   used | claims: owner, key, offset, size | table: offset, size of each key
    bytes   the items, one behind the other

An item is there when its offset is in the table, which is the last thing that is written: whoever is killed on the way
leaves no half of one. Space is handed out under a lock that opens when its holder dies. Until an item is there, its space
stands in a claim; that of a process that died is given to the next item that it is large enough for.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import ConfigError
from ._shared import Mutex, SharedMemory
from ._size import shown_size

Parts = Sequence["bytes | bytearray | memoryview"]

CLAIMS = 64  # items that can be on their way in at a time
ALIGNMENT = 64
_OWNER, _KEY, _OFFSET, _SIZE = range(4)
_USED, _FIRST_CLAIM = 0, 8
_TABLE = _FIRST_CLAIM + 4 * CLAIMS
_NOBODY, _ABANDONED = 0, 2**63
_REFUSED = 2**63  # as the size of an item that is not there: it did not fit


class Arena:
    """At most ``limit`` bytes, their table included, for items with the keys 0 to ``count`` - 1.

    >>> arena = Arena(10, 100_000)
    >>> arena.get(3) is None, arena.put(3, [b"four", b"teen"]), bytes(arena.get(3))
    (True, True, b'fourteen')
    """

    def __init__(self, count: int, limit: int) -> None:
        self._start = _aligned(8 * (_TABLE + 2 * count))
        if limit < self._start:
            raise ConfigError(
                f"limit must be more than {shown_size(self._start)}, which the table of {count} items takes. "
                f"Found: {shown_size(limit)}"
            )
        self._count = count
        self._open(SharedMemory(limit))

    def _open(self, memory: SharedMemory) -> None:
        self._memory, self._bytes = memory, memory.bytes
        self._words = memory.bytes[: self._start].cast("Q")
        self._mutex = Mutex(memory.descriptor)

    def get(self, key: int, most: int | None = None) -> memoryview | None:
        """An item, or its first ``most`` bytes, where they lie; or None. Who writes there changes it for all."""
        entry = _TABLE + 2 * key
        offset = self._words[entry]
        return self._bytes[offset : offset + self._words[entry + 1]][:most] if offset else None

    def mark(self, key: int) -> None:
        """Nothing is remembered of an item's source."""

    def put(self, key: int, parts: Parts, mark: Any = None) -> bool:
        """Add an item; whether it is there now. It is not where it does not fit, or where another is adding it."""
        size = sum(map(len, parts))
        with self._mutex:
            claim = self._claim(key, size)
        if claim is None:
            return self.get(key) is not None
        try:
            self._fill(self._words[claim + _OFFSET], parts)
        except BaseException:  # Ctrl-C
            self._words[claim + _OWNER] = _ABANDONED
            raise
        with self._mutex:  # whose system calls also order what is written, for other processors
            self._words[_TABLE + 2 * key + 1] = size
            self._words[_TABLE + 2 * key] = self._words[claim + _OFFSET]
            self._words[claim + _OWNER] = _NOBODY
        return True

    def used(self) -> int:
        """Bytes taken, the table included."""
        return self._start + self._words[_USED]

    def held(self) -> np.ndarray:
        """The keys that are there: int64, ascending."""
        return np.flatnonzero(self._table()[:, 0])

    def refused(self) -> int:
        """How many items did not fit."""
        offsets, sizes = self._table().T
        return int(((offsets == 0) & (sizes == _REFUSED)).sum())

    def _table(self) -> np.ndarray:
        return np.frombuffer(self._words, np.uint64)[_TABLE : _TABLE + 2 * self._count].reshape(-1, 2)

    def _fill(self, offset: int, parts: Parts) -> None:
        for part in parts:
            self._bytes[offset : offset + len(part)] = part
            offset += len(part)

    def _claim(self, key: int, size: int) -> int | None:
        """Space for an item, as the place of its claim among the words; None where it needs none or there is none."""
        words = self._words
        if words[_TABLE + 2 * key]:
            return None
        unused = left_behind = None
        for claim in range(_FIRST_CLAIM, _TABLE, 4):
            if words[claim] != _NOBODY and not _is_alive(words[claim]):
                if words[_TABLE + 2 * words[claim + _KEY]] == words[claim + _OFFSET]:
                    words[claim] = _NOBODY  # it died between the two last words: the item is there
                elif words[claim + _SIZE] >= size:
                    left_behind = claim
            elif words[claim] != _NOBODY and words[claim + _KEY] == key:
                return None
            if words[claim] == _NOBODY:
                unused = claim
        if left_behind is not None:
            words[left_behind + _KEY] = key
            words[left_behind] = os.getpid()
            return left_behind
        return None if unused is None else self._claim_new(unused, key, size)

    def _claim_new(self, claim: int, key: int, size: int) -> int | None:
        words = self._words
        offset, taken = self._start + words[_USED], _aligned(size)
        if offset + taken > self._memory.size:
            words[_TABLE + 2 * key + 1] = _REFUSED
            return None
        words[_USED] += taken  # first: who is killed here wastes space, and hands none out twice
        words[claim + _KEY], words[claim + _OFFSET], words[claim + _SIZE] = key, offset, taken
        words[claim] = os.getpid()
        return claim

    def __getstate__(self) -> dict[str, Any]:
        return {"memory": self._memory, "start": self._start, "count": self._count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start, self._count = state["start"], state["count"]
        self._open(state["memory"])


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _is_alive(owner: int) -> bool:
    if owner == _ABANDONED:
        return False
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""``Strings`` and ``Paths``: millions of strings in two arrays. Knows nothing about what they name.

A list of a million strings is a million objects, and reading one writes its reference count. So each worker process that
walks through the list copies it, page by page. Arrays are read without being written: forked workers share them.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

_CODE = "utf-8", "surrogatepass"  # what stands for odd bytes in a file's name comes back as it was
_AT_ONCE = 1 << 12  # strings that are looked at in one go: bounds the memory that it takes


class Strings(Sequence[str]):
    """An immutable sequence of strings: their UTF-8 bytes end to end, and where each begins.

    >>> names = Strings(["ant", "bee", "Köder"])
    >>> names[-1], names[:2], names.take([2, 0])
    ('Köder', Strings(['ant', 'bee']), Strings(['Köder', 'ant']))
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        data, ends = bytearray(), array("q", [0])
        for text in texts:
            data += text.encode(*_CODE)
            ends.append(len(data))
        self._data, self._ends = _frozen(np.frombuffer(data, np.uint8)), _frozen(np.frombuffer(ends, np.int64))

    @classmethod
    def _of(cls, data: np.ndarray, ends: np.ndarray) -> "Strings":
        made = cls.__new__(cls)
        made._data, made._ends = _frozen(data), _frozen(ends)
        return made

    @property
    def nbytes(self) -> int:
        """Bytes that they take in memory."""
        return self._data.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Strings": ...
    def __getitem__(self, index: int | slice) -> "str | Strings":
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        place = range(len(self))[index]  # negative ones, and IndexError
        return self._text(int(self._ends[place]), int(self._ends[place + 1]))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            ends = self._ends[start : start + _AT_ONCE + 1].tolist()
            yield from map(self._text, ends, ends[1:])

    def take(self, indices: Sequence[int] | np.ndarray) -> "Strings":
        """Those at ``indices`` (0 to len - 1), in this order, as arrays of their own."""
        chosen = np.asarray(indices, dtype=np.int64)
        starts, lengths = self._ends[chosen], self._ends[chosen + 1] - self._ends[chosen]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        data = np.empty(ends[-1], np.uint8)
        for first in range(0, len(chosen), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            begin, end = ends[part][0], ends[min(first + _AT_ONCE, len(chosen))]
            shift = np.repeat(starts[part] - ends[:-1][part], lengths[part])
            data[begin:end] = self._data[np.arange(begin, end) + shift]
        return Strings._of(data, ends)

    def _text(self, begin: int, end: int) -> str:
        return self._data[begin:end].tobytes().decode(*_CODE)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return np.array_equal(self._ends, other._ends) and np.array_equal(self._data, other._data)
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment] - equal to lists, which have none

    def __reduce__(self) -> tuple[Any, ...]:
        return Strings._of, (self._data, self._ends)

    def __repr__(self) -> str:
        return f"Strings([{_shown(self)}])"


class Paths(Sequence[Path]):
    """An immutable sequence of paths below one folder; each ``Path`` is made when it is asked for.

    >>> Paths("photos", ["cat/1.jpg", "dog/2.jpg"])[1].as_posix()
    'photos/dog/2.jpg'
    """

    def __init__(self, root: str | Path, names: Iterable[str]) -> None:
        self.root, self.names = Path(root), names if isinstance(names, Strings) else Strings(names)
        self._prefix = "" if str(self.root) == "." else os.path.join(self.root, "")

    @classmethod
    def below(cls, root: Path, paths: Iterable[Path]) -> "Paths":
        """Of paths that begin with the root."""
        prefix = "" if str(root) == "." else os.path.join(root, "")
        return cls(root, (str(path).removeprefix(prefix) for path in paths))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "Paths": ...
    def __getitem__(self, index: int | slice) -> "Path | Paths":
        if isinstance(index, slice):
            return Paths(self.root, self.names[index])
        return self.root / self.names[index]

    def __iter__(self) -> Iterator[Path]:
        return (self.root / name for name in self.names)

    def text(self, index: int) -> str:
        """One of them as a string, which is made in a tenth of the time.

        >>> Paths("photos", ["cat/1.jpg"]).text(0) == str(Paths("photos", ["cat/1.jpg"])[0])
        True
        """
        return self._prefix + self.names[index]

    def take(self, indices: Sequence[int] | np.ndarray) -> "Paths":
        """Those at ``indices`` (0 to len - 1), in this order."""
        return Paths(self.root, self.names.take(indices))

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment] - equal to lists, which have none

    def __repr__(self) -> str:
        return f"Paths({str(self.root)!r}, [{_shown(self.names)}])"


def _frozen(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


def _equal(one: Sequence[Any], other: object) -> bool:
    if not isinstance(other, Sequence) or isinstance(other, str):
        return NotImplemented
    return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True))


def _shown(texts: Sequence[str]) -> str:
    return ", ".join(map(repr, texts[:3])) + (f", ... {len(texts)} in all" if len(texts) > 3 else "")

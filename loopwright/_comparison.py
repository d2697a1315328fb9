"""``compare_records``: whether two records hold the same lines, and where and by how much they part. Knows no run.

The lines are those of metrics.jsonl: first they are compared byte for byte, then, from the first that differs, by their
numbers.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._files import parse_json

_PLACES = ("kind", "step", "epoch")  # what says of which moment a line is


@dataclass(frozen=True)
class Parting:
    """Two values of one moment that are not the same."""

    line: int  # from 1
    step: Any
    name: str
    old: Any
    new: Any

    @property
    def share(self) -> float:
        """By how much of the larger one they differ; infinite where they are no numbers to be compared."""
        if not (_is_number(self.old) and _is_number(self.new)):
            return math.inf
        largest = max(abs(self.old), abs(self.new))
        return abs(self.new - self.old) / largest if largest and math.isfinite(largest) else math.inf

    def __str__(self) -> str:
        by = f" (by {100 * self.share:.2g} %)" if math.isfinite(self.share) else ""
        return f"step {self.step}: {self.name} {_shown(self.old)} -> {_shown(self.new)}{by}"


@dataclass(frozen=True)
class Comparison:
    """How two records compare."""

    old_lines: int
    new_lines: int
    same: int  # lines from the first on that are the same, byte for byte
    first: Parting | None  # where they part by a value
    largest: Parting | None  # by the largest share of their numbers
    differing: int  # lines with other numbers

    @property
    def is_identical(self) -> bool:
        """To the last line of the old one, byte for byte."""
        return self.same == self.old_lines and self.new_lines >= self.old_lines

    def lines(self) -> list[str]:
        """In words."""
        if self.old_lines == 0:
            return ["the record has no lines to compare with"]
        if self.is_identical:
            return [f"identical to the end: {_count(self.old_lines)}, byte for byte"]
        told = [f"the first {_count(self.same)} of {self.old_lines} are identical, byte for byte"] if self.same else []
        if self.first is not None:
            told.append(f"parts at line {self.first.line}, {self.first}")
            told.append(f"{_count(self.differing)} with other numbers")
            if self.largest is not None and self.largest != self.first:
                told.append(f"largest at line {self.largest.line}, {self.largest}")
        elif self.new_lines >= self.old_lines:
            told.append("the others have the same numbers, written otherwise")
        if self.new_lines < self.old_lines:
            told.append(f"it ended after {_count(self.new_lines)}; the record has {self.old_lines}")
        return told


def compare_records(old: Path, new: Path) -> Comparison:
    """Compare two files of JSON lines.

    Raises:
        OSError, ValueError: one of them cannot be read, or is of something else.
    """
    had, has = _lines(old), _lines(new)
    pairs = enumerate(itertools.zip_longest(had, has[: len(had)]), 1)
    differing_lines = [(number, before, now) for number, (before, now) in pairs if before != now]
    same = differing_lines[0][0] - 1 if differing_lines else len(had)
    by_line = [list(_partings(number, a, b)) for number, a, b in differing_lines if a is not None and b is not None]
    found = [parting for partings in by_line for parting in partings]
    finite = [parting for parting in found if math.isfinite(parting.share)]
    return Comparison(
        len(had),
        len(has),
        same,
        found[0] if found else None,
        max(finite, key=lambda parting: parting.share, default=None),
        sum(map(bool, by_line)),
    )


def _lines(path: Path) -> list[bytes]:
    """Whole ones."""
    return [line for line in path.read_bytes().split(b"\n")[:-1] if b"\0" not in line] if path.exists() else []


def _partings(number: int, old: bytes, new: bytes) -> Iterator[Parting]:
    before, now = _object(old, number), _object(new, number)
    places = [key for key in _PLACES if before.get(key) != now.get(key)]
    for key in places or dict.fromkeys([*before, *now]):
        a, b = before.get(key, "(none)"), now.get(key, "(none)")
        if a != b:
            yield Parting(number, before.get("step", "?"), key, a, b)


def _object(line: bytes, number: int) -> Mapping[str, Any]:
    values = parse_json(line.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"line {number} should hold a JSON object")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _count(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines} lines"

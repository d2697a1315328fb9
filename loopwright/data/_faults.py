"""``Faults``: everything that is wrong with a table, gathered, so that one error tells all of it. Finds none itself."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .._errors import DataError

_SHOWN = 5  # rows that a message names of each kind


class Faults:
    """Kinds of mistakes, each with the rows that have it.

    Args:
        path: the table.
        place: the name of a row's place in it, such as "line 7".
        total: rows that were looked at.
    """

    def __init__(self, path: Path, place: Callable[[int], str], total: int) -> None:
        self._path, self._place, self._total = path, place, total
        self._found: list[str] = []

    def add(self, what: str, rows: Sequence[int], values: Sequence[Any] | None = None, hint: str = "") -> None:
        """Note a kind of mistake, the rows that have it (none: no mistake), and what they hold."""
        if len(rows):
            self._found.append(f"{self.listed(what, rows, values)}{hint}")

    def listed(self, what: str, rows: Sequence[int], values: Sequence[Any] | None = None) -> str:
        """The mistake, how many rows have it, and the first of them."""
        named = [self._place(row) for row in rows[:_SHOWN]]
        if values is not None:
            named = [f"{_short(value)} ({place})" for value, place in zip(values, named, strict=False)]
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return f"{what} ({len(rows)} of {self._total} rows): {', '.join(named)}{more}"

    def check(self) -> None:
        """Raise one DataError where anything was found."""
        if len(self._found) == 1:
            raise DataError(f"{self._path}: {self._found[0]}")
        if self._found:
            listed = "\n".join(f"  {found}" for found in self._found)
            raise DataError(f"{self._path} cannot be used, for {len(self._found)} reasons:\n{listed}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

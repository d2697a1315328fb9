"""``RowSplit``: which rows of a table are of a split, by the column that names it or held out. Knows no pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import ConfigError, DataError
from ._folder import SPLITS
from ._folds import hold_out
from ._rows import Rows, as_text, read_rows

COLUMN = "split"  # what it is called by default


@dataclass(frozen=True)
class RowSplit:
    """A split that is asked for.

    Args:
        name: "train", "val", "test", also under their other usual names, or what else the column has. None: all rows.
        column: the one that names the split of a row; None: there is none.
        holdout: share that is held out where no row is of a validation split; None: none is.
        seed: of that.
    """

    name: str | None
    column: str | None = COLUMN
    holdout: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise ConfigError(f"holdout must be a share between 0 and 1. Found: {self.holdout}")

    @property
    def kind(self) -> str | None:
        """Whichever of "train", "val" and "test" is meant, or None."""
        return next((kind for kind, names in SPLITS.items() if (self.name or "").lower() in names), None)

    def needed(self, names: Sequence[str]) -> str | None:
        """The column that a table of these columns must have; where a part may be held out, the usual one may lack."""
        is_usual = self.column == COLUMN and COLUMN not in (name.strip().lower() for name in names)
        may_lack = self.holdout is not None and self.kind in ("train", "val") and is_usual
        return None if self.name is None or may_lack else self.column

    def is_held_out(self, rows: Rows) -> bool:
        """Whether training and validation share their rows, because none is of a validation split."""
        return self.holdout is not None and self.kind in ("train", "val") and not _of(_texts(rows, self.column), "val")

    def of(self, rows: Rows) -> Sequence[int]:
        """The rows of the split; of one that is held out those of both parts, which ``part`` divides."""
        if not len(rows):
            raise DataError(f"{rows.path}: the table has no rows")
        held_out, texts = self.is_held_out(rows), _texts(rows, self.column)
        if texts is None:
            if self.name is not None and not held_out:
                raise ConfigError("split= needs split_column=, the column that names the split")
            return range(len(rows))
        there = ", ".join(f"{name or 'empty'}: {count}" for name, count in sorted(Counter(texts).items()))
        if self.name is None:
            raise DataError(
                f"{rows.path} has a column {self.column!r} ({there}): say split=, or split_column=None to take all rows"
            )
        wanted = "train" if held_out else self.name
        chosen = _of(texts, wanted)
        if not chosen:
            raise DataError(f"{rows.path}: no row is of split {wanted!r}; column {self.column!r} has {there}")
        return chosen

    def overlooked(self, rows: Rows) -> dict[str, list[int]]:
        """Rows that are left out where one may think that they are in, by the reason."""
        texts = _texts(rows, self.column)
        if self.name is None or texts is None:
            return {}
        chosen, is_usual = set(_of(texts, self.name)), self.name in SPLITS
        others = [row for row in _called(texts, _names(self.name)) if row not in chosen] if is_usual else []
        return {
            f"column {self.column!r} is empty: no split has these rows": _called(texts, {""}),
            f"rows of another name of split {self.name!r}, left out since the very name is there": others,
        }

    def part(self, labels: Any, count: int) -> np.ndarray:
        """Of so many rows of both parts those of this one; where they have one class each, a share of each class."""
        stratified = isinstance(labels, np.ndarray) and labels.dtype == np.int64
        share = self.holdout or 0.0
        return hold_out(labels if stratified else range(count), share, seed=self.seed, stratified=stratified)[
            self.kind == "val"
        ]


def has_split(path: str | Path, split: str, column: str | None = COLUMN, delimiter: str | None = None) -> bool:
    """Whether rows of a table are of a split."""
    return column is not None and bool(_of(_texts(read_rows(Path(path), {column}, delimiter), column), split))


def _texts(rows: Rows, column: str | None) -> list[str] | None:
    """The cells that name the splits; None without such a column."""
    return None if column not in rows.columns else [as_text(cell).strip() for cell in rows.columns[column]]


def _of(texts: list[str] | None, split: str) -> list[int]:
    """The rows of the very name, in whatever capitals; else those of its other usual names."""
    return _called(texts, {split.lower()}) or _called(texts, _names(split))


def _names(split: str) -> set[str]:
    return {split.lower(), *next((names for names in SPLITS.values() if split.lower() in names), ())}


def _called(texts: list[str] | None, names: set[str]) -> list[int]:
    return [row for row, text in enumerate(texts or ()) if text.lower() in names]

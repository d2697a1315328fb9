"""Columns to targets: one class, several classes, numbers. Notes what is wrong with the cells, opens no picture."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._errors import DataError
from .._files import parse_json
from .._names import did_you_mean
from ._faults import Faults
from ._labels import LabelSets, taken
from ._rows import Rows, as_text


@dataclass(frozen=True)
class Targets:
    """The targets of a table's rows. ``labels`` is int64 (n,), ``LabelSets``, float32 (n,) or (n, columns), or None."""

    labels: Any
    classes: list[str]

    def of(self, index: int) -> Any:
        """One target: a class index, or a float32 tensor: (classes,), () or (columns,); without labels the index."""
        if self.labels is None:
            return index
        if isinstance(self.labels, LabelSets):
            return torch.from_numpy(self.labels.multi_hot(index))
        value = self.labels[index]
        return int(value) if self.labels.dtype == np.int64 else torch.tensor(value)

    def take(self, indices: np.ndarray) -> "Targets":
        """Those of some rows."""
        return Targets(None if self.labels is None else taken(self.labels, indices), self.classes)


def is_empty(cell: Any) -> bool:
    """None, nothing but spaces, or NaN, which is how Parquet's writers often store what is missing."""
    return (
        cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell))
    )


def one_class(rows: Rows, chosen: Sequence[int], column: str, given: Sequence[str] | None, faults: Faults) -> Targets:
    """A class a row. The classes are those of all rows, also of other splits, unless they are given."""
    cells = rows.columns[column]
    faults.add(f"column {column!r}: several labels, read by labels={column!r}", _where(chosen, cells, _is_list))
    faults.add(f"column {column!r} is empty", _where(chosen, cells, is_empty))
    names = [None if is_empty(cell) or _is_list(cell) else as_text(cell).strip() for cell in cells]
    classes = _classes(given, {name for name in names if name is not None})
    numbers = {name: number for number, name in enumerate(classes)}
    strange = [row for row in chosen if names[row] is not None and names[row] not in numbers]
    _add_strangers(faults, column, strange, [names[row] for row in strange], classes)
    return Targets(np.array([numbers.get(names[row], -1) for row in chosen], dtype=np.int64), classes)  # type: ignore


def classes_in_a_cell(
    rows: Rows, chosen: Sequence[int], column: str, separator: str | None, given: Sequence[str] | None, faults: Faults
) -> Targets:
    """Any number of classes in one cell: a list, a JSON list, or names with a separator between them."""
    cells = rows.columns[column]
    sets = [_names_in(cell, separator) for cell in cells]
    faults.add(
        f"column {column!r}: neither a list nor a JSON list", [row for row in chosen if sets[row] is None],
        [cells[row] for row in chosen if sets[row] is None],
        "; say what stands between the labels, such as separator='|'" if separator is None else "",
    )  # fmt: skip
    classes = _classes(given, {name for names in sets for name in names or ()})
    numbers = {name: number for number, name in enumerate(classes)}
    strangers = [(row, name) for row in chosen for name in sets[row] or () if name not in numbers]
    _add_strangers(faults, column, [row for row, _ in strangers], [name for _, name in strangers], classes)
    kept = ([numbers[name] for name in sets[row] or () if name in numbers] for row in chosen)
    return Targets(LabelSets(kept, len(classes)), classes)


def classes_as_columns(rows: Rows, chosen: Sequence[int], columns: Sequence[str], faults: Faults) -> Targets:
    """A column a class: 1 or true where the row is of it, 0 or false where not."""
    members: list[list[int]] = [[] for _ in chosen]
    for number, column in enumerate(columns):
        cells, wrong = rows.columns[column], []
        for place, row in enumerate(chosen):
            truth = _TRUTHS.get(as_text(cells[row]).strip().lower())
            if truth is None:
                wrong.append(row)
            elif truth:
                members[place].append(number)
        faults.add(f"column {column!r}: neither 0 nor 1", wrong, [cells[row] for row in wrong])
    return Targets(LabelSets(members, len(columns)), list(columns))


def numbers(rows: Rows, chosen: Sequence[int], columns: Sequence[str], faults: Faults) -> np.ndarray:
    """Numbers that are finite in 32 bits: float64 (rows, columns)."""
    table = np.zeros((len(chosen), len(columns)))
    for number, column in enumerate(columns):
        cells = rows.columns[column]
        values = [_number(cells[row]) for row in chosen]
        faults.add(f"column {column!r} is empty", _where(chosen, cells, is_empty))
        wrong = [r for r, v in zip(chosen, values, strict=True) if not is_empty(cells[r]) and not abs(v) <= _LARGEST]
        faults.add(f"column {column!r}: no finite number", wrong, [cells[row] for row in wrong])
        table[:, number] = [value if abs(value) <= _LARGEST else math.nan for value in values]
    return table


_LARGEST = float(np.finfo(np.float32).max)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.0)?")  # what pandas makes of whole numbers with some missing, too
_TRUTHS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def _number(cell: Any) -> float:
    try:
        return math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | dict)


def _names_in(cell: Any, separator: str | None) -> list[str] | None:
    """The labels in a cell; None where it cannot be told. An empty text has none of them."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = parse_json(cell)
        except ValueError:
            return None
    if isinstance(cell, list):
        return None if any(is_empty(name) or _is_list(name) for name in cell) else [as_text(n).strip() for n in cell]
    if isinstance(cell, str) and not cell.strip():
        return []
    if is_empty(cell) or _is_list(cell) or separator is None:
        return None
    return [name.strip() for name in as_text(cell).split(separator) if name.strip()]


def _classes(given: Sequence[str] | None, found: set[str]) -> list[str]:
    """In the order given, else sorted: by value where all are whole numbers, so that class 10 is not before class 2."""
    if given is None:
        by_value = all(_WHOLE.fullmatch(name) for name in found)
        return sorted(found, key=lambda name: (int(name.removesuffix(".0")), name)) if by_value else sorted(found)
    names = [as_text(name) for name in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"classes= has names more than once: {', '.join(twice)}")
    return names


def _add_strangers(faults: Faults, column: str, rows: list[int], names: list[Any], classes: Sequence[str]) -> None:
    question = did_you_mean(names[0], classes) if names else ""
    hint = f"; {question}" if question else ""
    faults.add(f"column {column!r}: not among the given classes", rows, names, hint)


def _where(chosen: Sequence[int], cells: Sequence[Any], is_wrong: Any) -> list[int]:
    return [row for row in chosen if is_wrong(cells[row])]

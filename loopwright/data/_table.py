"""``Table``: pictures and their targets from the rows of a file. Knows nothing about batches or transforms."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .._errors import ConfigError, DataError
from .._names import did_you_mean
from ._faults import Faults
from ._labels import alike, counted
from ._picture import open_picture
from ._places import faults_of, likely_name
from ._row_split import COLUMN, RowSplit
from ._rows import Rows, as_text, read_rows
from ._strings import Paths
from ._targets import Targets, classes_as_columns, classes_in_a_cell, is_empty, numbers, one_class

_SHOWN = 5  # classes that a notice names
_USUAL = {"path": "image=", "label": "label="}  # columns that are looked for where no others are named


class Table:
    """Pictures listed in a CSV, TSV, JSON, JSON-lines or Parquet file, as a map-style dataset of (RGB picture, target).

    The target is one of these:

    - ``label="species"``: one class, an int. By default the column "label".
    - ``labels="tags"``: any number of classes, a multi-hot float32 tensor (classes,). The cells are lists, JSON lists,
      or names with ``separator`` between them; an empty text has no class. ``labels=["cat", "dog"]``: a column a
      class, of 0 and 1.
    - ``values="age"``: a number, a float32 tensor (). ``values=["x", "y"]``: a float32 tensor (2,).
    - ``label=None``: none; the target is the index of the sample, for whoever predicts.

    Everything is checked at once, when the table is made: each picture's file must be there, below ``root``. A picture
    that comes twice, or in another split too, is no mistake, but is warned of; ``notices`` keeps the texts.

    Args:
        path: the table; .csv, .tsv, .json (a list of objects), .jsonl (an object a line) or .parquet, in UTF-8.
        image: the column of the pictures' paths.
        label, labels, values: the column or columns of the targets; one of the three.
        separator: what stands between labels in one cell.
        classes: their names in the order of their indices. By default those of the whole table, all splits, sorted; by
            value where all are whole numbers.
        root: the folder that paths begin in. Default: the table's.
        outside: let paths lead out of ``root``, by "..", by a link, or because they are absolute.
        split: keep the rows of one split: "train", "val", "test", also under their other usual names (validation,
            valid, ...), or what else the column has.
        split_column: the column that names the split. A table that has it needs ``split``; ``split_column=None`` takes
            all rows.
        holdout: share of each class that is held out for "val" where no row is of it, 0 to 1, as ``ImageFolder`` does; the
            table needs no split column then. By default none is.
        seed: of the hold-out. The same seed gives the same parts; no row is in both.
        weight: a column of numbers, 0 or more, for ``Loader(weights=table.weights)``.
        delimiter: what stands between cells, where it is not the comma of .csv or the tab of .tsv.
        on_error: ``"skip"`` lets a ``Loader`` leave unreadable pictures out, counting and listing them.

    Attributes: ``paths`` (``Path`` objects), ``labels`` (int64 (n,), or ``LabelSets``, or float32 (n,) or (n, columns),
    or None), ``classes``, ``class_to_idx``, ``weights`` (float64 (n,) or None), ``notices``. They are arrays, which
    forked workers share.

    Raises:
        DataError: the table is missing or damaged, a column is unknown, or rows cannot be used: all kinds of mistakes
            at once, each with the first lines that have it.
        MissingExtra: a Parquet file, and pyarrow is not installed.

    >>> import tempfile
    >>> from loopwright import demo_photos
    >>> path = Path(tempfile.mkdtemp(), "photos.csv")
    >>> photos = sorted((demo_photos() / "val" / "hat").iterdir())
    >>> _ = path.write_text("path,label\\n" + "".join(f"{photo.name},hat\\n" for photo in photos))
    >>> table = Table(path, root=photos[0].parent)
    >>> picture, label = table[0]
    >>> picture.mode, label, table.counts() == {"hat": len(photos)}
    ('RGB', 0, True)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image: str = "path",
        label: str | None = "label",
        labels: str | Sequence[str] | None = None,
        values: str | Sequence[str] | None = None,
        separator: str | None = None,
        classes: Sequence[str] | None = None,
        root: str | Path | None = None,
        outside: bool = False,
        split: str | int | None = None,
        split_column: str | None = COLUMN,
        holdout: float | None = None,
        seed: int = 0,
        weight: str | None = None,
        delimiter: str | None = None,
        on_error: str = "raise",
    ) -> None:
        self.path, self.split, self.on_error = Path(path), None if split is None else str(split), on_error
        self.root = self.path.parent if root is None else Path(root)
        self.notices: list[str] = []
        targets = _chosen_targets(label, labels, values)
        self._check(separator, classes, targets)
        division = RowSplit(self.split, split_column, holdout, seed)
        columns = [image, *(column for column in targets.values() for column in _listed(column)), *_listed(weight)]
        rows = read_rows(self.path, {*columns, *_listed(split_column)}, delimiter)
        _check_columns(rows, [*columns, *_listed(division.needed(rows.names))])
        chosen = division.of(rows)
        faults = Faults(self.path, rows.place, len(chosen))
        self.paths = self._located(rows, chosen, image, outside, faults)
        self._targets = _read_targets(rows, chosen, targets, separator, classes, faults)
        self.weights = None if weight is None else _weights(rows, chosen, weight, faults)
        faults.check()
        if division.is_held_out(rows):
            chosen = self._keep_part(division, chosen)
        self._note_overlooked(rows, division, split_column)
        if classes is None:
            self._note_classes(division)
        self._note_twins(rows, chosen, image, faults)

    @property
    def labels(self) -> Any:
        return self._targets.labels

    @property
    def classes(self) -> list[str]:
        return self._targets.classes

    @property
    def class_to_idx(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        path, target = self.undecoded(index)
        return open_picture(path), target

    def undecoded(self, index: int) -> tuple[Path, Any]:
        """A sample with the picture's path in place of the picture."""
        place = range(len(self))[index]  # negative ones, and IndexError
        return self.paths[place], self._targets.of(place)

    def __repr__(self) -> str:
        what = f"{len(self)} pictures" + (f" of {len(self.classes)} classes" if self.classes else "")
        return f"Table({str(self.path)!r}, split={self.split!r}): {what}"

    def counts(self) -> dict[str, int]:
        """Pictures a class; empty without classes."""
        return counted(self.labels, self.classes)

    def name_of(self, index: int) -> str:
        """The file of one sample: what messages and predictions call it."""
        return str(self.paths[index])

    def _check(self, separator: str | None, classes: Sequence[str] | None, targets: dict[str, Any]) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error must be 'raise' or 'skip'. Found: {self.on_error!r}")
        in_a_cell = isinstance(targets.get("labels"), str)
        if separator is not None and not (separator and in_a_cell):
            raise ConfigError(
                f"separator= stands between the labels in the cells of labels='COLUMN'. Found: {separator!r}"
            )
        if classes is not None and not (in_a_cell or "label" in targets):
            raise ConfigError("classes= names those of label=COLUMN or labels='COLUMN'; columns have names already")

    def _located(self, rows: Rows, chosen: Sequence[int], image: str, outside: bool, faults: Faults) -> Paths:
        """The pictures' paths, each looked for."""
        if not self.root.is_dir():
            raise DataError(f"{self.root}: the root of the paths in {self.path} is no folder; root= gives another")
        cells = rows.columns[image]
        faults.add(f"column {image!r} is empty", [row for row in chosen if is_empty(cells[row])])
        filled = [row for row in chosen if not is_empty(cells[row])]
        found = faults_of(self.root, (as_text(cells[row]) for row in filled), outside=outside)
        missing = [row for row, fault in zip(filled, found, strict=True) if fault == "missing"]
        leading_out = [row for row, fault in zip(filled, found, strict=True) if fault == "outside"]
        likely = likely_name(self.root, as_text(cells[missing[0]])) if missing else ""
        hint = likely or ("; root= is the folder that paths begin in" if len(missing) == len(filled) else "")
        faults.add(f"no such picture below {self.root}", missing, [cells[row] for row in missing], hint)
        hint = "; give the root= that holds them all, or outside=True"
        faults.add(f"paths lead out of {self.root}", leading_out, [cells[row] for row in leading_out], hint)
        return Paths(self.root, (as_text(cells[row]) for row in chosen))

    def _keep_part(self, division: RowSplit, chosen: Sequence[int]) -> list[int]:
        """Keep the held-out rows, or the others; both parts have at least one of each class."""
        alone = [name for name, count in self.counts().items() if count == 1]
        if alone and isinstance(self.labels, np.ndarray):
            raise DataError(
                f"{self.path} has 1 row of class {', '.join(map(repr, alone[:8]))}{', ...' if alone[8:] else ''}: a class "
                "needs two or more where no rows are of a validation split"
            )
        kept = division.part(self.labels, len(chosen))
        self.paths, self._targets = self.paths.take(kept), self._targets.take(kept)
        self.weights = None if self.weights is None else self.weights[kept]
        return [chosen[place] for place in kept.tolist()]

    def _note_overlooked(self, rows: Rows, division: RowSplit, column: str | None) -> None:
        """Warn of rows that the split leaves out and one may think are in."""
        faults = Faults(self.path, rows.place, len(rows))
        for what, found in division.overlooked(rows).items():
            self._note(what, found, rows.columns[column or COLUMN], faults)

    def _note_classes(self, division: RowSplit) -> None:
        """Warn of classes that are one by a slip, or that nothing can be learned of."""
        pairs = [" and ".join(map(ascii, names)) for names in alike(self.classes)]
        lacking = [name for name, count in self.counts().items() if not count] if division.kind == "train" else []
        self._tell("classes that differ in capitals, spaces or Unicode forms only", pairs)
        self._tell(f"classes that split {self.split!r} has no row of", [*map(repr, lacking)])

    def _note_twins(self, rows: Rows, chosen: Sequence[int], image: str, faults: Faults) -> None:
        """Warn of pictures that come twice, and of those that are in another split too."""
        cells, first, again = rows.columns[image], {}, []
        for place, row in enumerate(chosen):
            if (key := os.path.normpath(as_text(cells[row]))) in first:
                again.append((place, row, first[key]))
            else:
                first[key] = place
        unlike = sum(_differ(self.labels, place, other) for place, _, other in again)
        what = "pictures that came before" + (f", {unlike} of them with other targets" if unlike else "")
        self._note(what, [row for _, row, _ in again], cells, faults)
        if self.split is not None:
            inside = set(chosen)
            shared = [
                row for row, cell in enumerate(cells)
                if row not in inside and not is_empty(cell) and os.path.normpath(as_text(cell)) in first
            ]  # fmt: skip
            self._note(f"pictures of split {self.split!r} that are in another split too", shared, cells, faults)

    def _note(self, what: str, rows: list[int], cells: Sequence[Any], faults: Faults) -> None:
        if rows:
            self._warn(faults.listed(what, rows, [cells[row] for row in rows]))

    def _tell(self, what: str, named: Sequence[str]) -> None:
        if named:
            more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
            self._warn(f"{what} ({len(named)} of {len(self.classes)}): {', '.join(named[:_SHOWN])}{more}")

    def _warn(self, message: str) -> None:
        self.notices.append(f"{self.path}: {message}")
        warnings.warn(self.notices[-1], stacklevel=5)


def _chosen_targets(label: str | None, labels: Any, values: Any) -> dict[str, Any]:
    """Which of the three was asked for, as {its name: its column or columns}; empty for none."""
    asked = {name: columns for name, columns in (("labels", labels), ("values", values)) if columns is not None}
    if label is not None and (not asked or label != "label"):
        asked["label"] = label
    if len(asked) > 1:
        raise ConfigError(
            f"one kind of target a table: {', '.join(f'{name}=' for name in sorted(asked))} exclude each other"
        )
    if any(not columns for columns in asked.values()):
        raise ConfigError(f"{next(iter(asked))}= needs the name of a column, or several")
    return asked


def _listed(columns: str | Sequence[str] | None) -> list[str]:
    if columns is None:
        return []
    return [columns] if isinstance(columns, str) else list(columns)


def _check_columns(rows: Rows, wanted: Sequence[str]) -> None:
    unknown = list(dict.fromkeys(name for name in wanted if name not in rows.names))
    if not rows.names:
        raise DataError(f"{rows.path}: the table is empty: it has no columns")
    if unknown:
        listed = ", ".join(map(repr, rows.names[:20])) + (", ..." if len(rows.names) > 20 else "")
        raise DataError(
            f"{rows.path} has no column {', '.join(map(repr, unknown))}; it has {listed}{_hint(rows, unknown)}"
        )


def _hint(rows: Rows, unknown: Sequence[str]) -> str:
    """What may have been meant, where a table lacks columns."""
    if rows.joined:
        return rows.joined
    questions = " ".join(filter(None, (did_you_mean(name, rows.names) for name in unknown)))
    usual = [_USUAL[name] for name in unknown if name in _USUAL]
    return f": {questions}" if questions else f"; {', '.join(usual)} name others" if usual else ""


def _read_targets(
    rows: Rows,
    chosen: Sequence[int],
    targets: dict[str, Any],
    separator: str | None,
    classes: Sequence[str] | None,
    faults: Faults,
) -> Targets:
    if not targets:
        return Targets(None, [])
    kind, columns = next(iter(targets.items()))
    if kind == "label":
        return one_class(rows, chosen, columns, classes, faults)
    if kind == "values":
        found = numbers(rows, chosen, _listed(columns), faults).astype(np.float32)
        return Targets(found[:, 0] if isinstance(columns, str) else found, [])
    if isinstance(columns, str):
        return classes_in_a_cell(rows, chosen, columns, separator, classes, faults)
    return classes_as_columns(rows, chosen, columns, faults)


def _weights(rows: Rows, chosen: Sequence[int], column: str, faults: Faults) -> np.ndarray:
    weights = numbers(rows, chosen, [column], faults)[:, 0]
    negative = [row for row, weight in zip(chosen, weights, strict=True) if weight < 0]
    faults.add(f"column {column!r}: weights are 0 or more", negative, [rows.columns[column][row] for row in negative])
    if not weights.any():
        faults.add(f"column {column!r}: all weights are 0", chosen)
    return weights


def _differ(labels: Any, one: int, other: int) -> bool:
    return labels is not None and not np.array_equal(labels[one], labels[other])

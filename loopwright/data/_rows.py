"""Tables in files, to rows and back: CSV, TSV, JSON, JSON lines, Parquet. Knows nothing about what the columns mean."""

import contextlib
import csv
import json
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .._errors import ConfigError, DataError
from .._files import parse_json, replace_file, strict_number
from .._names import did_you_mean
from ._parquet import parquet_bytes, read_parquet

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_SPARSEST, _FEW = 30, 1_000_000  # cells that a table has at most: so many for each that is given, and a few
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_LIMIT = threading.Lock()  # of the cells' length, while it is changed


@dataclass(frozen=True)
class Rows:
    """The cells of a table, column by column: strings where the file is CSV or TSV, else of the kinds that it holds."""

    path: Path
    names: list[str]  # of all columns, also of those that were not read
    columns: dict[str, list[Any]]
    lines: Sequence[int] | np.ndarray  # the line of the file that each row begins in, or the number of the row
    unit: str = "row"

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def joined(self) -> str:
        """A hint where the only column looks like several; else nothing."""
        found = next((mark for mark in ";\t|," if mark in self.names[0]), None) if len(self.names) == 1 else None
        return f"; if {found!r} stands between the cells, say delimiter={found!r}" if found else ""

    def place(self, row: int) -> str:
        """Where in the file a row is."""
        return f"{self.unit} {self.lines[row]}"


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a CSV, TSV, JSON, JSON-lines or Parquet file, one dictionary each; the file's ending says which it is.

    Cells of CSV and TSV are strings, those of the others what they are in the file. Every row has every column: what
    a row of JSON lacks is None. ``write_table`` writes such files.

    Raises:
        DataError: there is no such file, or it is damaged; the line is named.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "guesses.csv")
    >>> write_table([{"path": "a, b.jpg", "guess": "cat", "p": 0.75}], path)
    >>> read_table(path)
    [{'path': 'a, b.jpg', 'guess': 'cat', 'p': '0.75'}]
    """
    rows = read_rows(Path(path))
    return [dict(zip(rows.columns, cells, strict=True)) for cells in zip(*rows.columns.values(), strict=True)]


def write_table(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write rows, such as predictions, as CSV, TSV, JSON, JSON lines or Parquet; the file's ending says which.

    The file is replaced as a whole. ``read_table`` gives the rows back. In CSV and TSV everything is text: None is an
    empty cell, a list or dictionary is JSON. NaN and infinity, which JSON has not, are there the strings "nan", "inf"
    and "-inf".

    Args:
        rows: dictionaries of strings, numbers, booleans, None, paths, tensors and arrays (as lists; of one element
            without dimensions as a number), lists and dictionaries of these. A column that a row lacks is None.
        path: in a folder that exists.

    Raises:
        DataError: a value cannot be written in this format; its row and column are named.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "guesses.jsonl")
    >>> write_table([{"path": Path("a.jpg"), "scores": np.array([0.25, 0.75])}], path)
    >>> path.read_text()
    '{"path": "a.jpg", "scores": [0.25, 0.75]}\\n'
    """
    path = Path(path)
    kind = _format(path)
    columns, count = _columns_of(_plain_row(row, number) for number, row in enumerate(rows, 1))
    if count and not columns:
        raise DataError(f"{path}: the rows have no columns to write")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent} to write it in")
    replace_file(path, _content(kind, columns, count, path))


def check_writable(path: str | Path, texts: Iterable[str] = ()) -> None:
    """``DataError`` or ``MissingExtra`` where ``write_table`` could not write there, before the rows are made.

    Args:
        texts: of which some may be no Unicode, such as names of files.
    """
    path = Path(path)
    kind = _format(path)
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent} to write it in")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a table")
    if kind == "parquet":
        parquet_bytes({}, path)
    if kind not in ("json", "jsonl"):
        odd = next((text for text in texts if not _is_unicode(text)), None)
        if odd is not None:
            raise DataError(f"{path}: {odd!r} is no Unicode text; only JSON can hold it: write a .json or .jsonl file")


def read_rows(path: Path, names: Collection[str] | None = None, delimiter: str | None = None) -> Rows:
    """Read a table, only the columns of these names if they are given. Those that it lacks are left out."""
    kind = _format(path)
    if delimiter is not None and (kind not in _DELIMITERS or len(delimiter) != 1):
        raise ConfigError(f"delimiter= is one character, for .csv and .tsv. Found: {delimiter!r} for {path.name}")
    if not path.is_file():
        raise DataError(_nothing_there(path))
    try:
        if kind == "parquet":
            present, columns, count = read_parquet(path, names)
            return Rows(path, present, columns, range(1, count + 1))
        if kind in _DELIMITERS:
            return _read_csv(path, names, delimiter or _DELIMITERS[kind])
        return _read_json(path, names) if kind == "json" else _read_json_lines(path, names)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.object[error.start]:#04x} at offset {error.start}): save it as UTF-8"
        ) from None


def is_table(path: str | Path) -> bool:
    """Whether a path is that of a table, by its ending; a folder may be called as it likes."""
    return Path(path).suffix.lower() in FORMATS and not Path(path).is_dir()


def is_delimited(path: str | Path) -> bool:
    """Whether something stands between the cells of such a table."""
    return FORMATS.get(Path(path).suffix.lower()) in _DELIMITERS


def as_text(value: Any) -> str:
    """A cell as CSV shows it: strings as they are, None empty, lists and dictionaries as JSON.

    >>> [as_text(value) for value in ("fox", None, 0.5, 3, True, ["a", None])]
    ['fox', '', '0.5', '3', 'true', '["a", null]']
    """
    if value is None:
        return ""
    return _json(value) if isinstance(value, bool | list | dict) else str(value)


def _format(path: Path) -> str:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: a table ends in one of {', '.join(FORMATS)}. Found: {path.suffix or 'no ending'!r}")
    return kind


def _nothing_there(path: Path) -> str:
    if path.exists():
        return f"{path}: is a folder, not a table; lw.ImageFolder reads folders"
    beside = [p.name for p in path.parent.iterdir() if p.suffix.lower() in FORMATS] if path.parent.is_dir() else []
    question = did_you_mean(path.name, sorted(beside))
    return f"{path}: no such table{'; ' if question else ''}{question}"


# ---- reading -------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, names: Collection[str] | None, delimiter: str) -> Rows:
    lines, ragged = [], []
    with open(path, encoding="utf-8-sig", newline="") as file, _any_length():
        numbered = _numbered(csv.reader(file, delimiter=delimiter, strict=True), path)
        width, header = _header(next(numbered, (0, []))[1], path)
        wanted = [(place, name) for place, name in enumerate(header) if names is None or name in names]
        columns: dict[str, list[Any]] = {name: [] for _, name in wanted}
        for line, cells in numbered:
            if len(cells) != width:
                ragged.append(f"line {line} has {len(cells)}")
            elif any(cells[len(header) :]):
                ragged.append(f"line {line} has a cell in a column without a name")
            else:
                lines.append(line)
                for place, name in wanted:
                    columns[name].append(cells[place])
    if ragged:
        raise DataError(
            f"{path} has {len(header)} column{'s' * (len(header) != 1)}, but {_some(ragged)}. The first line names the "
            f"columns, and a cell with {delimiter!r} in it stands in quotes"
        )
    return Rows(path, header, columns, np.array(lines, dtype=np.int64), "line")


def _numbered(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows and the lines that they begin in; empty lines are passed over."""
    begin = 1
    try:
        for cells in reader:
            if cells:
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {begin}: {error}; is a quote left open?") from None


@contextlib.contextmanager
def _any_length() -> Iterator[None]:
    """Lets ``csv`` read cells above 131,072 characters, masks and captions: a limit of the process, so it is put back."""
    with _LIMIT:
        before = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _header(cells: list[str], path: Path) -> tuple[int, list[str]]:
    """How many cells a row has, and the names of the columns, without the empty ones that spreadsheets add at the end."""
    twice = sorted(name for name, count in Counter(cells).items() if name and count > 1)
    named = len(cells)
    while cells.count("") > 1 and named and not cells[named - 1]:
        named -= 1
    if twice or cells[:named].count("") > 1:
        listed = ", ".join(map(repr, twice or [""]))
        raise DataError(f"{path}: a column's name comes twice: {listed}; each needs its own")
    return len(cells), cells[:named]


def _read_json(path: Path, names: Collection[str] | None) -> Rows:
    try:
        found = parse_json(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        lines = "; an object a line is .jsonl" if error.msg == "Extra data" else ""
        raise DataError(
            f"{path}: line {error.lineno}, column {error.colno}: {error.msg}; expected JSON{lines}"
        ) from None
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # nested too deeply, a number of too many digits
        raise DataError(f"{path}: {error}; expected JSON") from None
    if not isinstance(found, list):
        pandas = "; pandas writes one with orient='records'" if isinstance(found, dict) else ""
        raise DataError(f"{path}: expected a list of objects, one a row. Found: {type(found).__name__}{pandas}")
    strays = [
        f"row {number} is of type {type(row).__name__}" for number, row in enumerate(found, 1) if type(row) is not dict
    ]
    if strays:
        raise DataError(f"{path}: expected a list of objects, but {_some(strays)}")
    columns, count = _columns_of(found)
    kept = {name: column for name, column in columns.items() if names is None or name in names}
    return Rows(path, list(columns), kept, range(1, count + 1))


def _read_json_lines(path: Path, names: Collection[str] | None) -> Rows:
    records, lines, faults = [], [], []
    present: dict[str, None] = {}  # an ordered set
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = parse_json(line.rstrip())
            except json.JSONDecodeError as error:
                faults.append(f"line {number}, column {error.colno}: {error.msg}")
                continue
            except ValueError as error:
                faults.append(f"line {number}: {error}")
                continue
            if type(record) is not dict:
                faults.append(f"line {number} is of type {type(record).__name__}")
                continue
            present |= dict.fromkeys(record)
            records.append(record if names is None else {name: record[name] for name in record if name in names})
            lines.append(number)
    if faults:
        raise DataError(f"{path}: expected one JSON object a line, but {_some(faults)}")
    return Rows(path, list(present), _columns_of(records)[0], np.array(lines, dtype=np.int64), "line")


def _columns_of(records: Iterable[Mapping[str, Any]]) -> tuple[dict[str, list[Any]], int]:
    """Rows to columns, in the order in which their names first come; a cell that a row lacks is None."""
    columns: dict[str, list[Any]] = {}
    count = filled = 0
    for count, record in enumerate(records, 1):
        filled += len(record)
        if (len(columns) + len(record)) * count > _SPARSEST * filled + _FEW:
            raise DataError(
                f"row {count}: of {len(columns):,} columns and {count:,} rows nearly all cells are missing: has each row an "
                "object of its own names?"
            )
        for name, value in record.items():
            if name not in columns:
                columns[name] = [None] * (count - 1)
            columns[name].append(value)
        for column in columns.values():
            if len(column) < count:
                column.append(None)
    return columns, count


def _some(faults: Sequence[str]) -> str:
    return "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")


# ---- writing -------------------------------------------------------------------------------------------------------


def _content(kind: str, columns: Mapping[str, list[Any]], count: int, path: Path) -> str | bytes:
    if kind == "parquet":
        _check_texts(columns, path)
        return parquet_bytes(columns, path)
    if kind in _DELIMITERS:
        _check_texts(columns, path)
        cells: Iterator[Sequence[Any]] = zip(*columns.values(), strict=True)
        return "".join(_csv_line(row, _DELIMITERS[kind]) for row in [tuple(columns), *cells] if columns)
    rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
    if kind == "jsonl":
        return "".join(f"{_json(row)}\n" for row in rows)
    return "[" + ",".join(f"\n{_json(row)}" for row in rows) + "\n]\n"


def _csv_line(cells: Sequence[Any], delimiter: str) -> str:
    """As RFC 4180 has it, but for the end of the line. A cell with any end of line in it, or alone and empty, is quoted."""
    texts = [as_text(cell) for cell in cells]
    quoted = [f'"{t.replace(chr(34), chr(34) * 2)}"' if re.search(f'["\r\n\ufeff{delimiter}]', t) else t for t in texts]
    return (delimiter.join(quoted) or '""') + "\n"


def _json(value: Any) -> str:
    """Strict JSON in one line, readable where its text is Unicode."""
    text = json.dumps(strict_number(value), ensure_ascii=False, allow_nan=False, default=str)
    return text if _is_unicode(text) else json.dumps(strict_number(value), allow_nan=False, default=str)


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: half a pair of surrogates, which stands for an odd byte in a file's name, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_texts(columns: Mapping[str, list[Any]], path: Path) -> None:
    for name, column in columns.items():
        for number, value in enumerate([name, *column]):
            if isinstance(value, str) and not _is_unicode(value):
                place = f"row {number}, column {name!r}" if number else "the name of a column"
                raise DataError(f"{path}: {place}: {value!r} is no Unicode text; only JSON can hold it")


def _plain_row(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise DataError(f"row {number}: a row is a dictionary of its cells. Found: {type(row).__name__}")
    return _plain_cells(row, f"row {number}")


def _plain_cells(cells: Mapping[str, Any], place: str) -> dict[str, Any]:
    stray = next((name for name in cells if not isinstance(name, str)), None)
    if stray is not None:
        raise DataError(f"{place}: names are strings. Found: {stray!r}")
    return {name: _plain(value, f"{place}, {name!r}") for name, value in cells.items()}


def _plain(value: Any, place: str) -> Any:
    """Python's own kinds for numbers of NumPy and torch, for arrays, tensors and paths."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    elif isinstance(value, Path):
        value = str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return _plain_cells(value, place)
    if isinstance(value, list | tuple):
        return [_plain(inner, place) for inner in value]
    raise DataError(f"{place}: type {type(value).__name__} cannot be written; give a string or numbers")

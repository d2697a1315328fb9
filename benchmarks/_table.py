"""Rows of figures: what they hold, how they are printed and written. Knows nothing about how they were measured."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure of one system; `value` is None where there is no figure, and then `note` says why.

    `ratio` is this system over the case's base (the bare loop, or all of n), `runs` the number of measurements,
    `values` each of them, `versions` the packages measured.
    """

    case: str
    system: str
    value: float | None
    unit: str
    ratio: float | None = None
    runs: int = 0
    values: list[float] = field(default_factory=list)
    versions: str = ""
    note: str = ""


def median_row(case: str, system: str, values: Sequence[float], unit: str, **more: object) -> Row:
    """The row whose value is the median of `values`."""
    return Row(case, system, statistics.median(values), unit, runs=len(values), values=list(values), **more)  # type: ignore[arg-type]


def versions(packages: Iterable[str]) -> tuple[str, list[str]]:
    """The installed versions as one text, and the packages that are not installed."""
    found, missing = [], []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    return ", ".join(found), missing


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within a few minutes, with coarser figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    return parser


def print_machine(when: str) -> None:
    """One line on the machine, with the load that others put on it."""
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    torch_version, _ = versions(["torch"])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {torch_version}"
    print(f"{when}: {machine}, load average {load}", flush=True)


def print_rows(rows: Iterable[Row], ratio: str = "ratio", highest_first: Collection[str] = ()) -> None:
    """Prints one table for each case, the lowest value first, or in the cases named the highest."""
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    for case, members in cases.items():
        unit = members[0].unit
        cells = [["system", unit, ratio, "lowest .. highest", "runs", "versions / note"]]
        sign = -1.0 if case in highest_first else 1.0
        cells += [_cells(row) for row in sorted(members, key=lambda r: (r.value is None, sign * (r.value or 0.0)))]
        print(f"\n{case}")
        _print_cells(cells)


def print_matrix(rows: Iterable[Row]) -> None:
    """Prints one line for each case and one column for each system; below it the notes."""
    rows = list(rows)
    cases, systems = list(dict.fromkeys(r.case for r in rows)), list(dict.fromkeys(r.system for r in rows))
    found = {(row.case, row.system): row for row in rows}
    cells = [["", *systems, ""]]
    for case in cases:
        cells.append([case, *(_with_unit(found.get((case, system))) for system in systems), ""])
    print()
    _print_cells(cells)
    print()
    for row in rows:
        if row.versions and row.case == cases[0]:
            print(f"  {row.system}: {row.versions}")
        if row.note:
            print(f"  {row.system}, {row.case}: {row.note}")


def _with_unit(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    return f"{_number(row.value)} {row.unit}" if row.unit.startswith("of ") else _number(row.value)


def _cells(row: Row) -> list[str]:
    value = "-" if row.value is None else _number(row.value)
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
    spread = f"{_number(min(row.values))} .. {_number(max(row.values))}" if row.values else "-"
    return [row.system, value, ratio, spread, str(row.runs), "; ".join(t for t in (row.versions, row.note) if t)]


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _print_cells(cells: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]) - 1)]
    for n, line in enumerate(cells):
        head = line[0].ljust(widths[0])
        middle = "  ".join(cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True))
        print(f"  {head}  {middle}  {line[-1]}".rstrip())
        if n == 0:
            print("  " + "-" * (sum(widths) + 2 * len(widths) + 8))


def write_json(rows: Iterable[Row], file: Path | None) -> None:
    """Writes one object a row; nothing where no file was asked for."""
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        print(f"\nrows written to {file}")

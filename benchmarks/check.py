"""Which bugs `lw.check` finds: those planted in examples/bugs/setups.py and the sound set-ups beside them, over seeds.

    python -m benchmarks.check [--quick] [--json FILE] [--seeds N] [--only NAME ...]

A bug is found if the very verdict that is about it fails. A sound set-up is clean if nothing fails; warnings are counted
apart. Each seed has other weights, another part of the photos and another order.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import loopwright as lw
from benchmarks._table import Row, arguments, print_machine, versions, write_json

SETUPS = Path(__file__).parents[1] / "examples" / "bugs" / "setups.py"
TIME = 600.0  # seconds that a check may take: what else the machine does decides nothing
EACH = 25  # pictures of each of the ten classes and each split


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, help="how often each set-up is checked (default 5; 1 if --quick)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these set-ups only")
    options = parser.parse_args()
    seeds = options.seeds or (1 if options.quick else 5)
    setups = load_setups()
    print_machine("start")
    torch.set_num_threads(1)  # the networks are small
    rows: list[Row] = []
    sound = dict.fromkeys(setups.SOUND, "")
    groups = {"planted": setups.BUGS, "sound": sound, "the same bugs, dressed differently": setups.DRESSED}
    for title, group in groups.items():
        chosen = {setup: name for setup, name in group.items() if not options.only or setup.__name__ in options.only}
        rows += group_rows(title, chosen, seeds)
    print_machine("\nend")
    write_json(rows, options.json)


def load_setups() -> ModuleType:
    """The examples are no package: they are loaded by their path."""
    spec = importlib.util.spec_from_file_location("setups", SETUPS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def group_rows(title: str, group: dict[Callable[[int], dict[str, Any]], str], seeds: int) -> list[Row]:
    """Check each set-up with each seed; one row for each verdict that failed, warned or could not look."""
    rows: list[Row] = []
    counts, seconds = Counter[str](), []
    version, _ = versions(["loopwright", "torch"])
    if group:
        print(f"\n{title}, {seeds} seeds: how often each verdict failed (F), warned (W), could not look (-)")
    for setup, expected in group.items():
        found: Counter[tuple[str, str]] = Counter()
        for seed in range(seeds):
            report, taken = checked(setup, seed)
            seconds.append(taken)
            found.update((v.name, v.outcome) for v in report.verdicts if v.outcome != "passed")
            named = bool(expected) and report[expected].outcome == "failed"
            counts["right verdict"] += named
            counts["any verdict"] += bool(report.failed)
            counts["warned"] += bool(report.warnings)
        mark = {"failed": "F", "warning": "W", "could not look": "-"}
        cells = [
            f"{name} {number}{mark[outcome]}" for (name, outcome), number in sorted(found.items(), key=_order(expected))
        ]
        print(f"  {setup.__name__:<28}{', '.join(cells) or 'nothing'}", flush=True)
        rows += [
            Row(setup.__name__, f"{name}: {outcome}", number / seeds, "of seeds", runs=seeds, versions=version)
            for (name, outcome), number in found.items()
        ]
    if group:
        total = len(group) * seeds
        said = f"the right verdict fails in {counts['right verdict']} of {total}; " if any(group.values()) else ""
        print(f"  {said}something fails in {counts['any verdict']} of {total}, something warns in {counts['warned']}; "
              f"{statistics.median(seconds):.1f} s each")  # fmt: skip
    return rows


def checked(setup: Callable[[int], dict[str, Any]], seed: int) -> tuple[Any, float]:
    """One report, and how long it took."""
    torch.manual_seed(seed)
    given = setup(EACH)
    began = time.perf_counter()
    return lw.check(**given, seed=seed, seconds=TIME), time.perf_counter() - began


def _order(expected: str) -> Callable[[Any], tuple[bool, str, str]]:
    outcomes = ("failed", "warning", "could not look")
    return lambda item: (item[0][0] != expected, str(outcomes.index(item[0][1])), item[0][0])


if __name__ == "__main__":
    main()

"""What a training loop costs: microseconds a step over the same bare PyTorch loop, memory, import.

    python -m benchmarks.overhead [--quick] [--json FILE] [--rounds N] [--steps N] [--only MODULE ...]

Every measurement is a fresh process in a pseudo-terminal, every round runs all systems in a new random order, and the
figure is the median over rounds. How a step is timed inside loops that belong to frameworks: see `_clock.py`.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json
from benchmarks._terminal import run_in_terminal
from benchmarks.loops import BARE, DISPLAYED, LOGGED, SYSTEMS, System

Measured = dict[str, float]
Results = dict[tuple[System, str], list[Measured]]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
TITLES = {LOGGED: "one loss logged every step, no display", DISPLAYED: "one loss logged every step, default display"}
OURS = "loopwright"
TARGETS = {TITLES[LOGGED]: 25.0, TITLES[DISPLAYED]: 25.0, "peak memory over bare": 10.0, "import over torch": 0.1}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="how often each system is measured (default 7; 2 if --quick)")
    parser.add_argument(
        "--steps", type=int, help="steps timed alone, and again in turns (default 2000; 1000 if --quick)"
    )
    parser.add_argument("--only", nargs="+", metavar="MODULE", help=f"of {' '.join(s.module for s in SYSTEMS)}")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 7)
    steps = options.steps or (1000 if options.quick else 2000)
    chosen = [s for s in SYSTEMS if s is BARE or options.only is None or s.module in options.only]
    print_machine("start")
    results, failures = measure(chosen, rounds, steps)
    rows = [row for system in chosen for row in rows_of(system, results, failures)]
    print_rows(rows, ratio="x bare")
    print_targets(rows)
    print_machine("\nend")
    write_json(rows, options.json)


def measure(systems: Iterable[System], rounds: int, steps: int) -> tuple[Results, dict[System, str]]:
    """Every system in every case, `rounds` times in random order; and why a system could not be measured."""
    results: Results = {}
    failures: dict[System, str] = {}
    runs = [(system, case) for system in systems for case in system.cases]
    for number in range(rounds):
        for system, case in random.Random(number).sample(runs, len(runs)):
            if system in failures or versions(system.packages)[1]:
                continue
            began = time.perf_counter()
            try:
                measured = measure_once(system, case, steps)
            except RuntimeError as failure:
                failures[system] = str(failure)
                print(f"  {system.title}: {failure}", file=sys.stderr)
                continue
            results.setdefault((system, case), []).append(measured)
            figures = f"{measured['over_wall']:8.1f} us over {measured['bare_wall']:.0f}"
            took = f"({time.perf_counter() - began:.0f} s)"
            print(f"  round {number + 1}/{rounds}  {system.title:30}{case:10}{figures}  {took}", flush=True)
    return results, failures


def measure_once(system: System, case: str, steps: int) -> Measured:
    """The figures of one fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        ended = run_in_terminal(
            [sys.executable, "-m", "benchmarks.loops", system.module, case, str(steps), str(file)], ONE_THREAD
        )
        if ended.code != 0:
            raise RuntimeError(f"failed: {ended.tail.strip().splitlines()[-1:] or ended.code}")
        return json.loads(file.read_text()) | {"shown": ended.shown / (2 * steps)}


def rows_of(system: System, results: Results, failures: dict[System, str]) -> list[Row]:
    """The rows of one system, in the order of the report."""
    installed, missing = versions(system.packages)
    why = f"not installed: {', '.join(missing)}" if missing else failures.get(system, "")
    rows = []
    for case in system.cases:
        measured, bare = results.get((system, case), []), results.get((BARE, case), [])
        if why or not measured:
            rows.append(Row(TITLES[case], system.title, None, "us/step", versions=installed, note=why))
            continue
        note = notes(measured, case)
        rows.append(step_row(TITLES[case], system, measured, "over_wall", installed, note))
        rows.append(step_row(f"{TITLES[case]}: processor time", system, measured, "over_cpu", installed))
        apart = [m["alone_wall"] - b["alone_wall"] for m, b in zip(measured, bare, strict=False)]
        ratio = statistics.median(m["alone_wall"] for m in measured) / statistics.median(b["alone_wall"] for b in bare)
        rows.append(
            median_row(
                f"{TITLES[case]}: separate processes", system.title, apart, "us/step", ratio=ratio, versions=installed
            )
        )
        if case == LOGGED:
            rows += once_rows(system, measured, bare, installed)
    return rows


def step_row(case: str, system: System, measured: list[Measured], key: str, installed: str, note: str = "") -> Row:
    """Microseconds a step over the bare loop that ran in turns with it."""
    bare = statistics.median(m[key.replace("over", "bare")] for m in measured)
    over = [m[key] for m in measured]
    return median_row(
        case, system.title, over, "us/step", ratio=1 + statistics.median(over) / bare, versions=installed, note=note
    )


def once_rows(system: System, measured: list[Measured], bare: list[Measured], installed: str) -> list[Row]:
    """What a run costs once: memory, import, everything before the first step and after the last."""

    def row(case: str, unit: str, value: Callable[[Measured], float], base: Callable[[Measured], float]) -> Row:
        ratio = statistics.median(map(value, measured)) + statistics.median(map(base, bare))
        ratio /= statistics.median(map(base, bare))
        return median_row(case, system.title, [value(m) for m in measured], unit, ratio=ratio, versions=installed)

    peak = statistics.median(b["peak_mb"] for b in bare)
    around = statistics.median(b["around_s"] for b in bare)
    return [
        row("peak memory over bare", "MB", lambda m: m["peak_mb"] - peak, lambda b: b["peak_mb"]),
        row("import over torch", "s", lambda m: m["import_system_s"], lambda b: b["import_torch_s"]),
        row(
            "before the first step and after the last, over bare",
            "s",
            lambda m: m["around_s"] - around,
            lambda b: b["around_s"],
        ),
    ]


def notes(measured: list[Measured], case: str) -> str:
    """What the reader must know beside the figure: what was shown, and work done by other threads."""
    shown = statistics.median(m["shown"] for m in measured)
    others = statistics.median(m["others_cpu"] for m in measured)
    texts = [
        f"{shown:.0f} bytes shown a step" if case == DISPLAYED else "",
        f"and {others:.0f} us in other threads" if others >= 1 else "",
    ]
    return "; ".join(text for text in texts if text)


def print_targets(rows: list[Row]) -> None:
    """Whether loopwright is what it promises: within its targets, and the lowest of all that can do the same."""
    print("\ntargets of loopwright")
    for case, limit in TARGETS.items():
        peers = [
            r.value
            for r in rows
            if r.case == case and r.value is not None and r.system != OURS and "bare" not in r.system
        ]
        ours = next((r.value for r in rows if r.case == case and r.system == OURS), None)
        if ours is None:
            print(f"  {case}: not measured")
            continue
        verdict = "met" if ours <= limit else "MISSED"
        rank = (
            ""
            if not peers
            else ", the lowest"
            if ours <= min(peers)
            else f", NOT the lowest (best peer {min(peers):.2f})"
        )
        print(f"  {case}: {ours:.2f}, at most {limit:g}: {verdict}{rank}")


if __name__ == "__main__":
    main()

"""What a training loop costs: microseconds a step over the same bare PyTorch loop, memory, import.

    python -m benchmarks.overhead [--quick] [--json FILE] [--rounds N] [--steps N] [--only MODULE ...]

Every measurement is a fresh process in a pseudo-terminal, every round runs all systems in a new random order, and the
figure is the median over rounds. How a step is timed inside loops that belong to frameworks: see `_clock.py`.
"""

from __future__ import annotations

import compileall
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import loopwright
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json
from benchmarks._terminal import run_in_terminal
from benchmarks.loops import BARE, DISPLAYED, LOGGED, ONCE, SYSTEMS, System

Measured = dict[str, float]
Results = dict[tuple[System, str], list[Measured]]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
TITLES = {LOGGED: "one loss logged every step, no display", DISPLAYED: "one loss logged every step, default display"}
MEMORY, IMPORT, AROUND = (
    "peak memory over bare",
    "import over torch",
    "before the first step and after the last, over bare",
)
OURS = "loopwright"
TARGETS = {TITLES[LOGGED]: 25.0, TITLES[DISPLAYED]: 25.0, MEMORY: 10.0, IMPORT: 0.1}


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
    compile_as_installed()
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


def compile_as_installed() -> None:
    """loopwright's bytecode, which pip writes for what it installs: an editable copy may be without."""
    compileall.compile_dir(str(Path(loopwright.__file__).parent), quiet=1)


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
        measured = results.get((system, case), [])
        bare = results.get((BARE, LOGGED if case == ONCE else case), [])
        if why or not measured:
            rows.append(no_row(system, case, installed, why))
            continue
        if case != ONCE:
            rows += step_rows(case, system, measured, bare, installed)
        if case != DISPLAYED:
            rows += once_rows(system, measured, bare, installed)
    return rows


def no_row(system: System, case: str, installed: str, why: str) -> Row:
    """What stands for a system without figures: it is never left out."""
    if case == ONCE:
        return Row(MEMORY, system.title, None, "MB", versions=installed, note=why)
    return Row(TITLES[case], system.title, None, "us/step", versions=installed, note=why)


def step_rows(case: str, system: System, measured: list[Measured], bare: list[Measured], installed: str) -> list[Row]:
    """Microseconds a step over the bare loop: in turns with it, by two clocks, and each in its own process."""

    def row(title: str, over: list[float], base: list[float], note: str = "") -> Row:
        ratio = 1 + statistics.median(over) / statistics.median(base)
        return median_row(title, system.title, over, "us/step", ratio=ratio, versions=installed, note=note)

    title = TITLES[case]
    # A display's own writing wakes who reads the terminal, which may take the core: left out, its cost would be, too.
    kept = "" if case == LOGGED else "all_"
    apart = [m["alone_wall"] - b["alone_wall"] for m, b in zip(measured, bare, strict=False)]
    return [
        row(title, column(measured, f"{kept}over_wall"), column(measured, f"{kept}bare_wall"), notes(measured, case)),
        row(f"{title}: processor time", column(measured, "over_cpu"), column(measured, "bare_cpu")),
        row(f"{title}: separate processes", apart, column(bare, "alone_wall")),
    ]


def once_rows(system: System, measured: list[Measured], bare: list[Measured], installed: str) -> list[Row]:
    """What a run costs once: memory, import, everything before the first step and after the last."""

    def row(case: str, unit: str, over: list[float], base: list[float]) -> Row:
        ratio = 1 + statistics.median(over) / statistics.median(base)
        return median_row(case, system.title, over, unit, ratio=ratio, versions=installed)

    peaks, arounds = column(bare, "peak_mb"), column(bare, "around_s")
    return [
        row(MEMORY, "MB", [m["peak_mb"] - statistics.median(peaks) for m in measured], peaks),
        row(IMPORT, "s", column(measured, "import_system_s"), column(bare, "import_torch_s")),
        row(AROUND, "s", [m["around_s"] - statistics.median(arounds) for m in measured], arounds),
    ]


def column(measured: list[Measured], key: str) -> list[float]:
    """One figure of every round."""
    return [m[key] for m in measured]


def notes(measured: list[Measured], case: str) -> str:
    """What the reader must know beside the figure: what was shown, and work done by other threads."""
    shown = statistics.median(m["shown"] for m in measured)
    others = statistics.median(m["others_cpu"] for m in measured)
    undisturbed = statistics.median(m["undisturbed"] for m in measured)
    texts = [
        f"{undisturbed:.0%} of pairs undisturbed" if case == LOGGED else "",
        f"{shown:.0f} bytes shown a step" if case == DISPLAYED else "",
        f"and {others:.0f} us in other threads" if others >= 1 else "",
    ]
    return "; ".join(text for text in texts if text)


def print_targets(rows: list[Row]) -> None:
    """Whether loopwright is what it promises: within its limits, and a step the cheapest of all frameworks'."""
    print("\ntargets of loopwright")
    frameworks = {system.title for system in SYSTEMS if system.module.startswith("with_")}
    for case, limit in TARGETS.items():
        found = {r.system: r.value for r in rows if r.case == case and r.value is not None and r.system in frameworks}
        if OURS not in found:
            print(f"  {case}: not measured")
            continue
        ours, lowest = found[OURS], min(found.values())
        verdict = "met" if ours <= limit else "MISSED"
        rank = "the lowest" if ours == lowest else f"NOT the lowest: {min(found, key=found.__getitem__)} {lowest:.1f}"
        rank = f", {rank} of {len(found)}" if case in TITLES.values() and len(found) > 1 else ""
        print(f"  {case}: {ours:.2f}, at most {limit:g}: {verdict}{rank}")


if __name__ == "__main__":
    main()

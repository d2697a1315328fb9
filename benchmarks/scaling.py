"""What a second process gains, and what loopwright takes of it: samples a second of 2 ranks, on a core each, over one.

    python -m benchmarks.scaling [--quick] [--json FILE] [--rounds N] [--only MODEL ...]

Every process is pinned to a core of its own and computes with one thread. Each has two trainings of the same model on the
same batches, 5 steps of the one and 5 of the other in turns (see `_clock.py`): a plain loop, with torch's
`DistributedDataParallel` as its documentation has it where there are two ranks, and a loop with `lw.Run`, which logs its
loss at every step. The batch grows with the ranks: each one has as many samples as the single process. Rounds alternate one
process and two, and figures are medians over rounds.

What comes second in a process may be faster or slower by where its tensors lie. So other processes have the plain loop
twice: what loopwright takes is what it is over torch's DDP, less what torch's DDP is over itself. A perceptron's steps of
half a millisecond wait for each other's messages most of their time, and are shown without a goal.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._port import free_port
from benchmarks._rank_task import MODELS
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "LOOPWRIGHT_SNAPSHOT": "off"}
PLAIN, OURS, AGAIN = "plain", "ours", "again"
NO_GOAL = "perceptron"
GOAL = 0.02  # of the efficiency of torch's DDP
RANKS = 2

Measured = dict[str, float]
Results = dict[tuple[str, int, str], list[Measured]]  # of a model, so many ranks, and what came second


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="of one process and of two (default 7; 2 if --quick)")
    parser.add_argument("--only", nargs="+", metavar="MODEL", choices=MODELS, help=f"of {' '.join(MODELS)}")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:RANKS]
    if len(cores) < RANKS:
        sys.exit(f"{RANKS} cores are needed, and this process may use {len(cores)}")
    rounds = options.rounds or (2 if options.quick else 7)
    chosen = options.only or list(MODELS)
    print_machine("start")
    results = measure(chosen, rounds, cores, options.quick)
    rows = [row for model in chosen for row in rows_of(model, results)]
    print_rows(rows, ratio="efficiency")
    print_goal(results, chosen)
    print_machine("\nend")
    write_json(rows, options.json)


def measure(models: list[str], rounds: int, cores: list[int], quick: bool) -> Results:
    """Every model on one core and on all of them, `rounds` times in random order."""
    results: Results = {}
    runs = [
        (model, ranks, who) for model in models for ranks, who in ((1, OURS), (len(cores), OURS), (len(cores), AGAIN))
    ]
    for number in range(rounds):
        for model, ranks, who in random.Random(number).sample(runs, len(runs)):
            found = measure_once(model, cores[:ranks], quick, who)
            results.setdefault((model, ranks, who), []).append(found)
            over = f"{PLAIN} {found[PLAIN]:9.0f} us a step, {who} {found[who] / found[PLAIN] - 1:+.2%}"
            print(
                f"  round {number + 1}/{rounds}  {model:14}{ranks} {'ranks' if ranks > 1 else 'rank '}  {over}",
                flush=True,
            )
    return results


def measure_once(model: str, cores: list[int], quick: bool, who: str) -> Measured:
    """Microseconds a step of both loops, as rank 0 sees them."""
    with tempfile.TemporaryDirectory() as folder:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        command = [sys.executable, "-m", "benchmarks._rank_task", model, "quick" if quick else "full", who, folder]
        processes = []
        for rank, core in enumerate(cores):
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": len(cores), "LOCAL_WORLD_SIZE": len(cores)}
            told = {name: str(value) for name, value in ranks.items()} if len(cores) > 1 else {}
            processes.append(subprocess.Popen([*command, str(core)], env=os.environ | ENVIRONMENT | place | told))
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError(f"{model} on {len(cores)} cores: exit codes {codes}")
        return json.loads(Path(folder, "result.json").read_text())


def rows_of(model: str, results: Results) -> list[Row]:
    """Of both loops: microseconds a step, and the efficiency: the samples a second of a core over those of one alone."""
    rows = []
    alone = {loop: [m[loop] for m in results[model, 1, OURS]] for loop in (PLAIN, OURS)}
    together = {loop: [m[loop] for m in results[model, RANKS, OURS]] for loop in (PLAIN, OURS)}
    base = statistics.median(alone[PLAIN])
    for loop, title in ((PLAIN, "plain loop, torch DDP"), (OURS, "loopwright")):
        for times, ranks in ((alone, 1), (together, RANKS)):
            found = statistics.median(times[loop])
            rows.append(
                median_row(
                    MODELS[model].title, f"{title}, {ranks} rank{'s' * (ranks > 1)}", times[loop], "us/step",
                    ratio=base / found, versions=versions(["torch"])[0],
                )
            )  # fmt: skip
    # Each round's loops ran in turns in the same processes: their ratio is steadier than that of their times.
    for who, title in ((OURS, "loopwright"), (AGAIN, "torch DDP again")):
        more = [100 * (m[who] / m[PLAIN] - 1) for m in results[model, RANKS, who]]
        rows.append(median_row(f"{MODELS[model].title}: over torch DDP, 2 ranks", title, more, "%"))
    return rows


def print_goal(results: Results, models: list[str]) -> None:
    """Both readings of "within 2 % of torch's DDP": of the efficiency of each against itself, and of a step's time."""
    print(f"\ngoal: 2 ranks of loopwright within {GOAL:.0%} of torch's DDP")
    for model in models:
        alone, together = results[model, 1, OURS], results[model, RANKS, OURS]
        torch_s, own = (
            statistics.median(m[loop] for m in alone) / statistics.median(m[loop] for m in together)
            for loop in (PLAIN, OURS)
        )
        ours, again = (
            100 * statistics.median(m[who] / m[PLAIN] - 1 for m in results[model, RANKS, who]) for who in (OURS, AGAIN)
        )
        price = ours - again
        print(f"  {MODELS[model].title}:")
        print(f"    efficiency, each against its own single process: {own:.3f}, torch {torch_s:.3f}", end="")
        print(_judged(model, own >= torch_s * (1 - GOAL)))
        print(f"    a step takes {price:+.2f} % ({ours:+.2f} less {again:+.2f})", end="")
        print(_judged(model, price <= 100 * GOAL))


def _judged(model: str, is_met: bool) -> str:
    return "" if model == NO_GOAL else ", met" if is_met else ", MISSED"


if __name__ == "__main__":
    main()

"""What files from strangers can do: every parser is given valid files that were spoiled, and files made to do harm.

    python -m benchmarks.fuzz [--seconds N] [--seed S] [--only TARGET ...] [--replay TARGET NUMBER] [--quick] [--json FILE]

An attempt may end with the loaded value or with one of loopwright's own errors. All else is a failure, and is printed
with how to repeat it: another error, a crash, a hang, memory beyond a bound, a file outside the folder that was read,
written, listed or removed, a process or a connection that was started. Attempt 0 of a target is its valid files.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks._table import Row, arguments, print_machine, print_matrix, write_json
from benchmarks.fuzzing._batch import Tally, run_target


def main() -> int:
    from benchmarks.fuzzing._targets import TARGETS

    names = [target.name for target in TARGETS]
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, help="for each target (default 60; 5 if --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of what is spoiled, and how")
    parser.add_argument("--only", nargs="+", metavar="TARGET", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "NUMBER"), help="one attempt; its files are kept")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay[0], int(options.replay[1]), options.seed)
    seconds, tallies = options.seconds or (5 if options.quick else 60), []
    print_machine("start")
    began = time.perf_counter()
    for name in options.only or names:
        with tempfile.TemporaryDirectory() as folder:
            tallies.append(run_target(name, options.seed, seconds, Path(folder)))
        print_tally(tallies[-1], options.seed)
    rows = [row for tally in tallies for row in rows_of(tally)]
    print_matrix(rows)
    print_machine(f"\nend, after {time.perf_counter() - began:.0f} s")
    write_json(rows, options.json)
    return 1 if any(tally.failures for tally in tallies) else 0


def rows_of(tally: Tally) -> list[Row]:
    """A line of the table."""
    failed = sum(count for _, count in tally.failures.values())
    counts = {"tried": tally.tried, "refused": tally.refused, "loaded": tally.loaded, "failures": failed}
    return [Row(tally.target, column, value, "attempts") for column, value in counts.items()]


def print_tally(tally: Tally, seed: int) -> None:
    print(f"{tally.target}: {tally.tried} tried, {tally.refused} refused, {tally.loaded} loaded", flush=True)
    for what, (first, count) in tally.failures.items():
        print(f"  FAILURE, {count} times: {what}")
        print(f"    python -m benchmarks.fuzz --seed {seed} --replay '{tally.target}' {first}", flush=True)


def replay(name: str, number: int, seed: int) -> int:
    """One attempt in this process."""
    from benchmarks.fuzzing._attempt import Attempts
    from benchmarks.fuzzing._targets import TARGETS

    folder = Path(tempfile.mkdtemp())
    attempts = Attempts(next(target for target in TARGETS if target.name == name), seed, folder)
    outcome = attempts.of(number)
    print(f"{outcome}\nits files: {folder / 'sandbox'}")
    return 0 if outcome in ("loaded", "refused") else 1


if __name__ == "__main__":
    sys.exit(main())

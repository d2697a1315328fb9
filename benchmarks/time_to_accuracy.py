"""Seconds until a small ResNet on the clothing photos is as good as fastai's one cycle makes it in ten epochs.

    python -m benchmarks.time_to_accuracy [--quick] [--json FILE] [--seeds N] [--data FOLDER]

The same network from scratch, the same pictures at 64 px, batches of 32, on this machine's processor; everything that is
done with the pictures counts (packing too), imports do not. The mark is fastai's mean accuracy after its ten epochs, over
the seeds. A system's time is that of the first epoch behind which it has the mark; a seed that never does has none, and is
counted. Systems take turns, seed by seed, each race in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks._camera import CLOTHING
from benchmarks._table import Row, arguments, print_machine, print_rows, versions, write_json
from benchmarks.races import RACERS, Racer

Race = list[tuple[float, float]]  # seconds and accuracy after each epoch


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, help="races of each system (default 5; 1 if --quick)")
    parser.add_argument("--data", type=Path, default=CLOTHING, help="a folder with train and validation parts")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder. LOOPWRIGHT_CLOTHING or --data names another place")
    racing = {racer: versions(racer.packages) for racer in RACERS}
    print_machine("start")
    races: dict[Racer, list[Race]] = {racer: [] for racer, (_, missing) in racing.items() if not missing}
    for seed in range(options.seeds or (1 if options.quick else 5)):
        for racer, run in races.items():
            run.append(race(racer, options.data, seed))
            seconds, accuracy = run[-1][-1]
            print(
                f"  seed {seed}  {racer.module:16}{seconds:7.1f} s  {accuracy:.1%} after {racer.epochs} epochs",
                flush=True,
            )
    rows = rows_of(races, {racer: installed for racer, (installed, _) in racing.items()})
    print_rows(rows, ratio="of fastai", highest_first={rows[-1].case})
    write_json(rows, options.json)
    print_machine("end")


def race(racer: Racer, data: Path, seed: int) -> Race:
    command = [sys.executable, "-m", "benchmarks.races", racer.module, str(data), str(seed), str(racer.epochs)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    line = next(line for line in out.splitlines() if line.startswith("RACE "))
    return [(seconds, accuracy) for seconds, accuracy in json.loads(line.removeprefix("RACE "))]


def rows_of(races: dict[Racer, list[Race]], installed: dict[Racer, str]) -> list[Row]:
    mark = statistics.mean(race[-1][1] for race in races[RACERS[0]])
    base = statistics.median(race[-1][0] for race in races[RACERS[0]])
    rows = []
    for racer, run in races.items():
        times = [next((seconds for seconds, accuracy in race if accuracy >= mark), None) for race in run]
        there = [seconds for seconds in times if seconds is not None]
        note = f"{len(there)} of {len(run)} seeds get there" + (
            "; all ten epochs take the base" if racer is RACERS[0] else ""
        )
        value = statistics.median(there) if there else None
        ratio = None if value is None else value / base
        rows.append(
            Row(f"seconds to {mark:.1%}", racer.title, value, "s", ratio, len(run), there, installed[racer], note)
        )
    for racer, run in races.items():
        ends = [100 * race[-1][1] for race in run]
        spread = f"sd {statistics.stdev(ends):.1f}" if len(ends) > 1 else ""
        note = f"{spread}, {statistics.median(race[-1][0] for race in run):.1f} s for {racer.epochs} epochs"
        mean = statistics.mean(ends)
        rows.append(Row("accuracy at the end", racer.title, mean, "%", None, len(ends), ends, installed[racer], note))
    return rows


if __name__ == "__main__":
    main()

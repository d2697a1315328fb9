"""What keeping decoded pictures in memory gains, and that processes share it instead of copying it.

    python -m benchmarks.caching [--quick] [--json FILE] [--rounds N]

The embedded photos, `RandomResizedCrop(64)`, batches of 32. Images a second of a second epoch: the first one, which fills
the cache and brings the files into the system's, is not counted. Memory is the proportional set size (PSS: a page that
n processes share counts as 1/n for each) of the training process and all its children behind two epochs.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

WORKERS = (0, 1, 2)
MEMORY_WORKERS = (1, 4)
SYSTEMS = {"files": None, "cache='memory'": "memory", "a cache on disk": "path"}
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ENGINES = {"ring": "the ring", "processes": "worker processes"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="measurements of each (default 7; 2 if --quick)")
    parser.add_argument("--one", nargs=4, metavar="X", help="one measurement: used by the program itself")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print_machine("start")
    rows = speeds(options.rounds or (2 if options.quick else 7)) + memory(2 if options.quick else 3)
    print_rows(rows, ratio="x files, or x 1 worker")
    print_machine("\nend")
    write_json(rows, options.json)


def speeds(rounds: int) -> list[Row]:
    """Images a second, each system in each number of workers, all in a new random order each round."""
    cases = [(system, workers) for system in SYSTEMS for workers in WORKERS]
    found: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        for system, workers in random.Random(number).sample(cases, len(cases)):
            found[system, workers].append(in_new_process(system, workers, "auto", 20)["images_per_second"])
    return [
        median_row(
            f"images a second, second epoch, workers={workers}", system, found[system, workers], "images/s",
            ratio=_median(found[system, workers]) / _median(found["files", workers]), versions=versions(["torch"])[0],
        )
        for workers in WORKERS for system in SYSTEMS
    ]  # fmt: skip


def memory(rounds: int) -> list[Row]:
    """MB of all processes together, with as many workers of each engine."""
    rows = []
    for engine, words in ENGINES.items():
        for system in ("files", "cache='memory'"):
            taken = {
                workers: [in_new_process(system, workers, engine, 2)["pss_mb"] for _ in range(rounds)]
                for workers in MEMORY_WORKERS
            }
            first = _median(taken[MEMORY_WORKERS[0]])
            for workers, values in taken.items():
                name = f"{system}, workers={workers}"
                rows.append(
                    median_row(f"PSS of all processes, {words}", name, values, "MB", ratio=_median(values) / first)
                )
    return rows


def in_new_process(system: str, workers: int, engine: str, epochs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.caching", "--one", system, str(workers), engine, str(epochs)]
    return json.loads(
        subprocess.run(command, env=os.environ | QUIET, check=True, capture_output=True, text=True).stdout
    )


def measure(system: str, workers: str, engine: str, epochs: str) -> dict[str, float]:
    """One measurement, in this process."""
    import tempfile

    import torch

    import loopwright as lw

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cache: Any = Path(folder, "cache") if SYSTEMS[system] == "path" else SYSTEMS[system]
        photos = lw.ImageFolder(lw.demo_photos(), split="train", cache=cache)
        transform = lw.RandomResizedCrop(64)
        loader = lw.Loader(
            photos, 32, transform=transform, shuffle=True, workers=int(workers), engine=engine if int(workers) else "auto",  # type: ignore[arg-type]
        )  # fmt: skip
        for _ in loader:
            pass
        began = time.perf_counter()
        for _ in range(int(epochs) - 1):
            for _ in loader:
                pass
        seconds = time.perf_counter() - began
        images = (int(epochs) - 1) * len(photos)
        found = {"images_per_second": images / seconds, "pss_mb": pss_of_tree()}
        loader.close()
    return found


def pss_of_tree() -> float:
    """MB of this process and all below it."""
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 1e6


def _median(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()

"""What SIGKILL leaves of a training: its final weights, its history, its samples and its checkpoints.

    python -m benchmarks.kill [--quick] [--json FILE] [--kills N] [--peer-kills N] [--seed N] [--only MODULE ...]

A training with random augmentation, dropout, batch norm, momentum and a schedule is killed again and again: at random
instants, at changes seen in its folder of checkpoints, before a random one of its file operations. After every kill
the checkpoints are opened, and the training is resumed to its end and compared with one that was never killed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._table import Row, arguments, print_machine, print_rows, versions, write_json
from benchmarks.trainings import TRAININGS, Training

OURS = "loopwright"
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, help="kills of loopwright's training (default 100; 10 if --quick)")
    parser.add_argument("--peer-kills", type=int, help="kills of each peer's training (default 10; 2 if --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan of kills (what it hits also depends on the machine)")
    parser.add_argument("--only", nargs="+", metavar="MODULE", help=f"of {' '.join(t.module for t in TRAININGS)}")
    options = parser.parse_args()
    ours = options.kills or (10 if options.quick else 100)
    peers = options.peer_kills or (2 if options.quick else 10)
    print_machine("start")
    rows: list[Row] = []
    for training in TRAININGS:
        if options.only is None or training.module in options.only:
            rows += try_system(training, ours if training.module == OURS else peers, options.seed)
    print_rows(rows, ratio="share")
    print_machine("\nend")
    write_json(rows, options.json)


def try_system(training: Training, kills: int, seed: int) -> list[Row]:
    """The rows of one system; one row that says why, where there can be none."""
    installed, missing = versions(training.packages)
    if missing:
        return [Row("kills", training.title, None, "kills", versions=installed, note=f"not installed: {', '.join(missing)}")]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", "benchmarks.trainings", training.module, str(kills), str(seed), f"{folder}/trial", str(result)]
        code = subprocess.run(command, env=os.environ | QUIET, check=False).returncode
        if code:
            return [Row("kills", training.title, None, "kills", versions=installed, note=f"failed with exit code {code}, see above")]
        found = json.loads(result.read_text())
    return rows_of(training, installed, found, time.perf_counter() - began)


def rows_of(training: Training, installed: str, found: Mapping[str, Any], seconds: float) -> list[Row]:
    """The tally of a trial as rows; a share is of what its unit says."""
    about = f"resumes by: {training.resumes_by}"

    def row(case: str, value: float | None, unit: str, of: int | None = None, note: str = "") -> Row:
        share = value / of if of and value is not None else None
        return Row(case, training.title, value, unit, share, found["runs"], versions=installed, note=note)

    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(found["kinds"].items()))
    kinds += f"; {found['groups']} with the workers; {found['fresh']} lives in new interpreters; workers {pairs(found['workers'])}"
    runs, checkpoints = found["runs"], found["checkpoints"]
    history = found["same_history"] if training.module == OURS else None
    rows = [
        row("kills", found["kills"], "kills", note=f"{kinds}; {seconds:.0f} s in all"),
        row("kills inside a save, proven by what it left", found["inside_saves"], "kills", found["kills"], places(found["places"])),
        row("uninterrupted trainings that end with the same weights", found["agreeing"], f"of {found['references']}", found["references"]),
        row("killed trainings whose final weights equal the uninterrupted one's", found["same_weights"], f"of {runs}", runs, about),
        row("killed trainings whose history of metrics is equal, byte for byte", history, f"of {runs}", runs),
        row("checkpoints on offer after a kill that do not load", found["torn"], f"of {checkpoints}", checkpoints),
        row("checkpoints on offer after a kill with other weights than without", found["foreign"], f"of {checkpoints}", checkpoints),
        row("lives that failed", found["failed_lives"], "lives"),
    ]
    for key, case in (("twice", "samples used twice in an epoch, a training"), ("never", "samples never used in an epoch, a training")):
        mean = statistics.fmean(found[key]) if found[key] else None
        rows.append(Row(case, training.title, mean, "samples", None, len(found[key]), found[key], installed, f"{sum(found[key])} in all"))
    return rows


def pairs(workers: Mapping[str, int]) -> str:
    """How many workers one life had and the next one: `0->2 x 5, ...`."""
    return ", ".join(f"{pair} x {count}" for pair, count in sorted(workers.items()))


def places(found: Mapping[str, int]) -> str:
    """The file operations that a kill came before."""
    return "just before: " + ", ".join(f"{place} x {count}" for place, count in sorted(found.items())) if found else ""


if __name__ == "__main__":
    main()

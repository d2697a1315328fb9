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

from benchmarks._table import Row, arguments, print_machine, print_matrix, versions, write_json
from benchmarks.trainings import TRAININGS, Training

OURS = "with_loopwright"
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, help="kills of loopwright's training (default 100; 10 if --quick)")
    parser.add_argument("--peer-kills", type=int, help="kills of each peer's training (default 10; 3 if --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan of kills; what they hit is chance")
    parser.add_argument("--only", nargs="+", metavar="MODULE", help=f"of {' '.join(t.module for t in TRAININGS)}")
    options = parser.parse_args()
    ours = options.kills or (10 if options.quick else 100)
    peers = options.peer_kills or (3 if options.quick else 10)
    print_machine("start")
    rows: list[Row] = []
    for training in TRAININGS:
        if options.only is None or training.module in options.only:
            rows += try_system(training, ours if training.module == OURS else peers, options.seed)
    print_matrix(rows)
    print_machine("\nend")
    write_json(rows, options.json)


def try_system(training: Training, kills: int, seed: int) -> list[Row]:
    """The rows of one system; one row that says why, where there can be none."""
    installed, missing = versions(training.packages)
    if missing:
        return [no_row(training, installed, f"not installed: {', '.join(missing)}")]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", "benchmarks.trainings", training.module, str(kills), str(seed)]
        command += [f"{folder}/trial", str(result)]
        code = subprocess.run(command, env=os.environ | QUIET, check=False).returncode
        if code:
            return [no_row(training, installed, f"failed with exit code {code}, see above")]
        found = json.loads(result.read_text())
    return rows_of(training, installed, found, time.perf_counter() - began)


def no_row(training: Training, installed: str, why: str) -> Row:
    """What stands for a system without figures: it is never left out."""
    return Row("kills", training.title, None, "kills", versions=installed, note=why)


def rows_of(training: Training, installed: str, found: Mapping[str, Any], seconds: float) -> list[Row]:
    """The tally of a trial as rows; a ratio is the share of what the unit says."""
    kills, runs, checkpoints, references = (found[key] for key in ("kills", "runs", "checkpoints", "references"))
    history = found["same_history"] if training.module == OURS else None  # the peers' logs are not made to be compared

    def row(case: str, value: float | None, unit: str, of: int = 0, note: str = "") -> Row:
        share = value / of if of and value is not None else None
        return Row(case, training.title, value, unit, share, runs, versions=installed, note=note)

    return [
        row("kills", kills, "kills", note=f"{how_killed(found)}; {seconds:.0f} s in all"),
        row("kills inside a save, by what it left", found["inside_saves"], f"of {kills}", kills),
        row("uninterrupted: same weights", found["agreeing"], f"of {references}", references),
        row("killed: same final weights", found["same_weights"], f"of {runs}", runs, f"by {training.resumes_by}"),
        row("killed: same history, byte for byte", history, f"of {runs}", runs),
        row("checkpoints that do not load", found["torn"], f"of {checkpoints}", checkpoints),
        row("checkpoints with other weights", found["foreign"], f"of {checkpoints}", checkpoints),
        row("lives that failed", found["failed_lives"], "lives"),
        samples_row("samples used twice, a training", training, installed, found["twice"]),
        samples_row("samples never used, a training", training, installed, found["never"]),
    ]


def samples_row(case: str, training: Training, installed: str, values: list[float]) -> Row:
    """The mean over killed trainings, summed over their epochs."""
    note = f"{sum(values)} in all, {sum(value > 0 for value in values)} of {len(values)} trainings concerned"
    return Row(
        case, training.title, statistics.fmean(values or [0]), "samples", None, len(values), values, installed, note
    )


def how_killed(found: Mapping[str, Any]) -> str:
    """What aimed the kills, and how the lives were lived."""
    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(found["kinds"].items()))
    fresh = f"{found['groups']} with their workers; {found['fresh']} lives in new interpreters"
    workers = f"workers before and after: {listed(found['workers'])}"
    return "; ".join((kinds, fresh, workers, f"file operations that they came before: {listed(found['places'])}"))


def listed(counts: Mapping[str, int]) -> str:
    """`0->2 x 5, ...`, most often first."""
    return ", ".join(f"{what} x {count}" for what, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"


if __name__ == "__main__":
    main()

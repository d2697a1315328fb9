"""Images a second of augmentation per batch on the processor, one thread, beside torchvision v2 and kornia.

    python -m benchmarks.augment [--quick] [--json FILE] [--rounds N] [--batch N] [--side PIXELS] [--only CASE ...]

All systems take turns in random order within a process; the figure is the median over rounds, by the process's own clock,
which stands still while others have the core. torchvision's second row is not the same augmentation: it gives all pictures
of a batch the same numbers. On a GPU: `python -m benchmarks.gpu.augment`.
"""

from __future__ import annotations

import random
import time
import warnings

import torch

from benchmarks._augmenters import CASES, SYSTEMS, Augment, System, batch
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

BASE = "torchvision v2, picture by picture"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="how often each is measured (default 15; 5 if --quick)")
    parser.add_argument("--batch", type=int, default=64, help="pictures a batch")
    parser.add_argument("--side", type=int, default=256, help="of the square pictures, in pixels")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", choices=CASES, default=CASES, help=f"of {', '.join(CASES)}"
    )
    options = parser.parse_args()
    rounds = options.rounds or (5 if options.quick else 15)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print_machine("start")
    print(f"{options.batch} photographs of {options.side} x {options.side} a batch, one thread")
    rows = [row for case in options.only for row in measure(case, options.batch, options.side, rounds)]
    print_rows(rows, ratio="x sample", highest_first={row.case for row in rows})
    print_machine("\nend")
    write_json(rows, options.json)


def measure(case: str, samples: int, side: int, rounds: int) -> list[Row]:
    """The rows of one case: every system in every round, in a new random order."""
    ready: dict[System, Augment | None] = {
        system: None if versions(system.packages)[1] else system.make(case) for system in SYSTEMS
    }
    batches = {floats: batch(samples, side, torch.device("cpu"), floats=floats) for floats in (False, True)}
    rates: dict[System, list[float]] = {system: [] for system, augment in ready.items() if augment is not None}
    for number in range(rounds + 1):  # the first one warms up
        for system in random.Random(number).sample(list(rates), len(rates)):
            augment, (images, labels) = ready[system], batches[case in system.on_floats]
            assert augment is not None
            torch.manual_seed(number)
            began = time.process_time()
            augment(images, labels, number)
            took = time.process_time() - began
            if number:
                rates[system].append(samples / took)
    print(f"  {case}: done", flush=True)
    return [row_of(case, system, rates) for system in SYSTEMS]


def row_of(case: str, system: System, rates: dict[System, list[float]]) -> Row:
    installed, missing = versions(system.packages)
    if system not in rates:
        why = f"not installed: {', '.join(missing)}" if missing else "has no such thing for single pictures"
        return Row(case, system.title, None, "images/s", versions=installed, note=why)
    note = "on float32, contiguous" if case in system.on_floats else ""
    row = median_row(case, system.title, rates[system], "images/s", versions=installed, note=note)
    base = [r for s, r in rates.items() if s.title == BASE]
    if not base:
        return row
    return Row(**{**vars(row), "ratio": row.value / median_row("", "", base[0], "").value})  # type: ignore[operator]


if __name__ == "__main__":
    main()

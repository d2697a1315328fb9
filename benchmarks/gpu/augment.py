"""Images a second of augmentation per batch on a GPU, beside torchvision v2 and kornia, and three laws checked there.

    python -m benchmarks.gpu.augment [--quick] [--json FILE] [--rounds N] [--batch N] [--side PIXELS] [--only CASE ...]

Each figure is the median over rounds of the time from an idle device to an idle device for ten batches, and the time that
the launching thread was busy is in the note. Laws, before the figures: results equal those on the processor within a
rounding step; nothing waits for the device (`torch.cuda.set_sync_debug_mode`); and the same step gives the same bits twice.
"""

from __future__ import annotations

import random
import statistics
import time
import warnings

import torch

from benchmarks._augmenters import CASES, SYSTEMS, Augment, System, batch, loopwright
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

BATCHES = 10


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="how often each is measured (default 15; 5 if --quick)")
    parser.add_argument("--batch", type=int, default=256, help="pictures a batch")
    parser.add_argument("--side", type=int, default=256, help="of the square pictures, in pixels")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", choices=CASES, default=CASES, help=f"of {', '.join(CASES)}"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs a CUDA device; on the processor: python -m benchmarks.augment")
    warnings.simplefilter("ignore")
    print_machine("start")
    print(torch.cuda.get_device_name())
    for case in options.only:
        print(f"  {case}: {laws(case, options.side)}", flush=True)
    rounds = options.rounds or (5 if options.quick else 15)
    rows = [row for case in options.only for row in measure(case, options.batch, options.side, rounds)]
    print_rows(rows, highest_first={row.case for row in rows})
    write_json(rows, options.json)


def laws(case: str, side: int) -> str:
    """Whether the GPU does what the processor does, twice the same and without waiting; asserts what must be."""
    augment = loopwright(case)
    here, labels = batch(16, side, torch.device("cpu"), floats=False)
    there, there_labels = here.cuda(), labels.cuda()
    expected, soft = augment(here, labels, 1)
    augment(there, there_labels, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made, made_soft = augment(there, there_labels, 1)
        again, _ = augment(there, there_labels, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(made, again), f"{case}: two calls differ"
    assert (made_soft.cpu().float() - soft.float()).abs().max() < 1e-6, f"{case}: labels differ from the processor's"
    apart = (made.cpu().int() - expected.int()).abs()
    share = (apart > 1).float().mean().item()  # thresholds, as in solarize, may fall on the other side
    assert share < 1e-3, f"{case}: {share:.2%} of the values are more than a rounding step from the processor's"
    return f"nothing waits; equal to the processor's but for {(apart > 0).float().mean():.3%} by 1, {share:.4%} by more"


def measure(case: str, samples: int, side: int, rounds: int) -> list[Row]:
    """The rows of one case: every system in every round, in a new random order."""
    ready: dict[System, Augment | None] = {
        system: None if versions(system.packages)[1] else system.make(case) for system in SYSTEMS
    }
    batches = {floats: batch(samples, side, torch.device("cuda"), floats=floats) for floats in (False, True)}
    taken: dict[System, list[tuple[float, float]]] = {s: [] for s, augment in ready.items() if augment is not None}
    for number in range(rounds + 1):  # the first one warms up
        for system in random.Random(number).sample(list(taken), len(taken)):
            augment, (images, labels) = ready[system], batches[case in system.on_floats]
            assert augment is not None
            times = timed(augment, images, labels, number)
            if number:
                taken[system].append(times)
    rows = []
    for system in SYSTEMS:
        installed, missing = versions(system.packages)
        if system not in taken:
            why = f"not installed: {', '.join(missing)}" if missing else "has no such thing for single pictures"
            rows.append(Row(case, system.title, None, "images/s", versions=installed, note=why))
            continue
        busy = statistics.median(launch for _, launch in taken[system]) * 1e3 / BATCHES
        rates = [BATCHES * samples / whole for whole, _ in taken[system]]
        note = f"{busy:.2f} ms to launch a batch" + ("; on float32" if case in system.on_floats else "")
        rows.append(median_row(case, system.title, rates, "images/s", versions=installed, note=note))
    return rows


def timed(augment: Augment, images: torch.Tensor, labels: torch.Tensor, number: int) -> tuple[float, float]:
    """Seconds until all is done, and until all is launched."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for step in range(BATCHES):
        augment(images, labels, BATCHES * number + step)
    launched = time.perf_counter()
    torch.cuda.synchronize()
    return time.perf_counter() - began, launched - began


if __name__ == "__main__":
    main()

"""Whether decoding at a scale costs accuracy: the same trainings with scaled and with full decoding, over several seeds.

    python -m benchmarks.decoding_accuracy [--quick] [--json FILE] [--seeds N] [--epochs N] [--size N] [--data FOLDER]

A small ResNet on the clothing photos at the size they have (400x533), whose random resized crops of 64 pixels are mostly
decoded at 1/2 or 1/4. Both trainings of a seed begin with the same weights and are shown the same parts in the same
order. Validation decodes in full.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import loopwright as lw
from benchmarks._camera import CLOTHING
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json
from benchmarks.feeds.with_loopwright import as_it_is

CLASSES = 10
TITLE = "accuracy on the clothing photos' validation part"
SCALED, FULL = "decoded at a scale", "decoded in full"
# Of Student's distribution, two-sided 95 %, by degrees of freedom: the noise of a mean over so many pairs.
STUDENT = {4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 10: 2.23, 11: 2.20}
LEAST_SEEDS = 5  # for a verdict: of fewer, by chance, all differences may be one and the same


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, help="trainings of each kind (default 5; 2 if --quick)")
    parser.add_argument("--epochs", type=int, help="of each training (default 15; 1 if --quick)")
    parser.add_argument("--size", type=int, default=64, help="of the crops, in pixels")
    parser.add_argument("--data", type=Path, default=CLOTHING, help="a folder with train and validation parts")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder. LOOPWRIGHT_CLOTHING or --data names another place")
    seeds = options.seeds or (2 if options.quick else 5)
    epochs = options.epochs or (1 if options.quick else 15)
    print_machine("start")
    found: dict[str, list[float]] = {SCALED: [], FULL: []}
    for seed in range(seeds):
        for way, values in found.items():
            began = time.perf_counter()
            values.append(100 * train(options.data, seed, way, epochs, options.size))
            print(f"  seed {seed}  {way:20}{values[-1]:6.2f} %  ({time.perf_counter() - began:.0f} s)", flush=True)
    installed = versions(["loopwright", "torch"])[0]
    base = statistics.median(found[FULL])
    rows = [
        median_row(TITLE, way, values, "%", ratio=statistics.median(values) / base, versions=installed)
        for way, values in found.items()
    ]
    rows.append(difference(found[SCALED], found[FULL]))
    print_rows(rows, ratio="x full", highest_first=(TITLE,))
    print_machine("\nend")
    write_json(rows, options.json)


def train(data: Path, seed: int, way: str, epochs: int, size: int) -> float:
    """Top-1 accuracy after one training, 0 to 1."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        fitted = lw.fit(
            lw.small_resnet(CLASSES),
            lw.ImageFolder(data, split="train"),
            lw.ImageFolder(data, split="val"),
            loss=F.cross_entropy,
            metrics={"top1": lw.topk_accuracy},
            scheduler="OneCycleLR",
            lr=3e-3,
            epochs=epochs,
            transform=transform_of(way, size),
            val_transform=lw.CenterCrop(size),
            run=Path(folder, "run"),
            seed=seed,
            progress=False,
        )
        return fitted.last("val/top1")


def transform_of(way: str, size: int) -> Any:
    """Behind a function of the user's a crop is given whole pictures: it takes the same parts of them."""
    crop = lw.RandomResizedCrop(size)
    return crop if way == SCALED else lw.Compose([as_it_is, crop])


def difference(scaled: list[float], full: list[float]) -> Row:
    """The mean of the differences of the pairs, beside the noise that a mean over so few has."""
    pairs = [a - b for a, b in zip(scaled, full, strict=True)]
    mean, note = statistics.fmean(pairs), f"too few seeds to say more: at least {LEAST_SEEDS}"
    if len(pairs) >= LEAST_SEEDS:
        noise = STUDENT.get(len(pairs) - 1, 2.26) * statistics.stdev(pairs) / math.sqrt(len(pairs))
        verdict = "equal within noise" if abs(mean) <= noise else "NOT equal within noise"
        note = f"{mean:+.2f} +- {noise:.2f} points (95 %): {verdict}"
    return Row(
        "scaled minus full, pairs of the same seed", "difference", mean, "points", None, len(pairs), pairs, "", note
    )


if __name__ == "__main__":
    main()

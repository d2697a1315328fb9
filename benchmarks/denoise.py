"""Gray denoising at sigma 25: DnCNN trained on 400 pictures, PSNR on BSD68 and Set12 beside the published figures.

    python -m benchmarks.denoise [--quick] [--json FILE] [--seeds N] [--minutes N | --steps N] [--depth N] [--width N]
                                 [--fold N] [--norm] [--batch N] [--crop PIXELS] [--lr RATE] [--data FOLDER]
                                 [--device DEVICE] [--workers N] [--precision NAME] [--processor-time]

Published (Zhang et al., TIP 2017, tables II and III): DnCNN-S 29.23 dB on BSD68 and 30.44 on Set12, BM3D 28.57 and 29.97.
The paper trains 50 epochs of 1,600 steps with 128 squares of 40 pixels: --steps 80000 --depth 17 --fold 1 --norm --batch 128
--crop 40 on a GPU. The default is for two cores: a network of ten layers that sees squares of two by two pixels as one
(`lw.dncnn(fold=2)`), for 30 minutes. With --processor-time the minutes are those of the process's processor time over the
number of its cores, for a machine that has other work beside it. PSNR is that of 8-bit pictures: the output is clipped and
rounded; the noise is neither. The noise of the test pictures is drawn from a fixed seed, the same for every network.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import loopwright as lw
from benchmarks._table import Row, arguments, print_machine, versions, write_json

DENOISING = Path(os.environ.get("LOOPWRIGHT_DENOISING", Path(__file__).parents[2] / "shared" / "data" / "denoising"))
SIGMA, NOISE_SEED, POINTS = 25, 0, 20  # points of the curve
CLIP = 0.1  # the largest norm of gradients, about their median: without batch norm a spike can end a training
PUBLISHED = {"BM3D, published": (28.57, 29.97), "DnCNN-S, published": (29.23, 30.44)}
SETS = ("BSD68", "Set12")
TO_FLOATS = {"input": lw.ToUnit(), "target": lw.ToUnit()}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=1, help="trainings, of which the mean is given (default 1)")
    parser.add_argument("--minutes", type=float, help="of a training (default 30; 1 if --quick)")
    parser.add_argument("--steps", type=int, help="of a training, instead")
    parser.add_argument("--depth", type=int, help="layers (default 10; 5 if --quick)")
    parser.add_argument("--width", type=int, help="channels (default 64; 12 if --quick)")
    parser.add_argument("--fold", type=int, default=2, help="pixels of the squares that are seen as one (default 2)")
    parser.add_argument("--norm", action="store_true", help="batch norm, as in the paper")
    parser.add_argument("--processor-time", action="store_true", help="minutes of processor time over the cores")
    parser.add_argument("--batch", type=int, help="squares a step (default 8)")
    parser.add_argument("--crop", type=int, default=48, help="pixels of a training square (default 48)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--data", type=Path, default=DENOISING, help="a folder with train400, BSD68 and Set12")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    if not (options.data / "train400").is_dir():
        sys.exit(f"{options.data}: no such folder. LOOPWRIGHT_DENOISING or --data names another place")
    options.minutes = options.minutes or (1 if options.quick else 30)
    options.depth = options.depth or (5 if options.quick else 10)
    options.width = options.width or (12 if options.quick else 64)
    options.batch = options.batch or 8
    print_machine("start")
    found = [training(seed, options) for seed in range(options.seeds)]
    rows = rows_of(found, options)
    show(rows)
    print_machine("\nend")
    write_json(rows, options.json)


def pictures(data: Path, name: str) -> Any:
    """The pictures of a folder, decoded once."""
    return lw.Cached(lw.PairedFolders(data, target=lw.Role(name, "gray")), "memory")


def test_loader(data: Path, name: str) -> lw.Loader:
    noise = lw.Degrade([lw.AddNoise(SIGMA)], fixed=NOISE_SEED)
    return lw.Loader(pictures(data, name), 1, sample_transform=noise, normalize=TO_FLOATS, workers=0)


class Clock:
    """How much of a training is over, by steps or by the seconds that it took: what its rate follows."""

    def __init__(self, steps: int | None, minutes: float, *, processor_time: bool) -> None:
        self._steps, self._limit = steps, 60 * minutes
        self._processor_time = processor_time
        self.steps, self.seconds = 0, 0.0

    @property
    def share(self) -> float:
        return self.steps / self._steps if self._steps else self.seconds / self._limit

    def now(self) -> float:
        """Seconds since some moment."""
        return time.process_time() / len(os.sched_getaffinity(0)) if self._processor_time else time.perf_counter()

    def rate(self) -> float:
        """One cycle, of the highest rate: up over a twentieth of the training, then down along a cosine."""
        share = min(1.0, self.share)
        return share / 0.05 if share < 0.05 else 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95))


def training(seed: int, options: Any) -> dict[str, Any]:
    """One training: the PSNR of each set, the curve of Set12 over seconds of training, and what was trained."""
    torch.manual_seed(seed)
    clean = pictures(options.data, "train400")
    repeated = lw.Part(clean, np.arange(100_000) % len(clean))
    clock, curve = Clock(options.steps, options.minutes, processor_time=options.processor_time), []
    with tempfile.TemporaryDirectory() as folder, lw.Run(
        Path(folder, "run"), seed=seed, device=options.device, precision=options.precision, progress=False,
        save_every="1000 hours",
    ) as run:  # fmt: skip
        loader = lw.Loader(
            repeated, options.batch, transform=lw.RandomCrop(options.crop, turn=True), shuffle=True, drop_last=True,
            sample_transform=lw.Degrade([lw.AddNoise(SIGMA)]), normalize=TO_FLOATS, workers=options.workers,
        )  # fmt: skip
        few = test_loader(options.data, "Set12")
        model = run.prepare(lw.dncnn(1, depth=options.depth, width=options.width, fold=options.fold, norm=options.norm))
        optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
        run.register(model=model, optimizer=optimizer)
        batches = endless(loader)
        for epoch in run.epochs(POINTS):
            began, before = clock.now(), clock.seconds
            for batch in batches:
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * clock.rate()
                parts = {role: TO_FLOATS[role](run.compute.move(part)) for role, part in batch.items()}
                with run.autocast():
                    loss = F.mse_loss(model(parts["input"]), parts["target"])
                run.step(loss, optimizer, clip=CLIP)
                clock.steps, clock.seconds = clock.steps + 1, before + clock.now() - began
                if clock.share >= (epoch + 1) / POINTS:
                    break
            with run.evaluate(model):
                for batch in run.batches(few):
                    run.log(psnr=lw.psnr(lw.quantized(model(batch["input"])), batch["target"]))
            curve.append((clock.seconds, run.value("val/psnr")))
            print(
                f"  seed {seed}  {clock.seconds:6.0f} s  step {clock.steps:6}  Set12 {curve[-1][1]:.2f} dB", flush=True
            )
        loader.close()
        measured = {name: mean_psnr(model, options.data, name, run.device) for name in SETS}
    return {"psnr": measured, "curve": curve, "steps": clock.steps, "parameters": count(model)}


def endless(loader: lw.Loader) -> Iterator[Any]:
    """The batches of all epochs, one after the other."""
    return itertools.chain.from_iterable(map(loader.epoch_batches, itertools.count()))


def mean_psnr(model: nn.Module, data: Path, name: str, device: torch.device) -> float:
    """The mean over the pictures of a set."""
    values = []
    model.eval()
    loader = test_loader(data, name)
    with torch.no_grad():
        for batch in loader.epoch_batches(0):
            parts = {role: TO_FLOATS[role](part).to(device) for role, part in batch.items()}
            values.append(lw.psnr(lw.quantized(model(parts["input"])), parts["target"]).item())
    return statistics.fmean(values)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def rows_of(found: list[dict[str, Any]], options: Any) -> list[Row]:
    first = found[0]
    minutes = statistics.fmean(one["curve"][-1][0] for one in found) / 60
    words = f"{first['parameters']:,} parameters, {first['steps']:,} steps of {options.batch}, {minutes:.1f} minutes"
    made = versions(["torch"])[0]
    rows = []
    for number, name in enumerate(SETS):
        case = f"{name}, gray, sigma {SIGMA}: PSNR"
        rows += [Row(case, system, values[number], "dB") for system, values in PUBLISHED.items()]
        values = [one["psnr"][name] for one in found]
        rows.append(
            Row(case, f"DnCNN {options.depth}x{options.width}/{options.fold}, loopwright", statistics.fmean(values), "dB",
                runs=len(values), values=values, versions=made, note=words)
        )  # fmt: skip
    for seconds, value in first["curve"]:
        rows.append(Row("Set12 over the training, seed 0", f"{seconds / 60:.1f} minutes", value, "dB", runs=1))
    return rows


def show(rows: list[Row]) -> None:
    """With the two digits that papers give."""
    case = ""
    for row in rows:
        if row.case != case:
            case = row.case
            print(f"\n{case}")
        words = "; ".join(text for text in (row.versions, row.note) if text)
        print(f"  {row.system:<28} {row.value:6.2f} dB  {words}")


if __name__ == "__main__":
    main()

"""The ladder of good practice on Imagewoof: the same network from scratch, one rung after the other.

    python -m benchmarks.imagewoof [--quick] [--json FILE] [--seeds N] [--epochs N] [--size PIXELS] [--images N]
                                   [--only RUNG ...] [--data FOLDER] [--device DEVICE] [--batch N]
                                   [--precision PRECISION] [--folder FOLDER]

Rungs, ResNet-18 on the first four: SGD at 0.1, divided by ten at two and three quarters of the training; the same at a
learning rate found by `lw.find_lr`; that rate as the peak of one cycle; AdamW at its own found rate with one cycle; ours:
smoothed labels, and timm's ResNet-18-D (a stem of three small convolutions, averages where branches get smaller; He et al.,
"Bag of tricks", arXiv 1812.01187), an eighth more to compute. The rate of an optimizer and a network is found once, with
seed 0. No pretrained weights, no tricks at test time. Rungs take turns, seed by seed; figures are the mean over seeds of
the accuracy after the last epoch. Published, 128 px, on the leaderboard: 76.61 % in 5 epochs, 86.27 % in 20; the article's
own ladder, 40 epochs at 224 px: 69, 78, 79.5 and 82.6 %.

The pictures are read from a pack that is made once. With `--folder` it stays there, and so do the rates and the trainings:
begun again after a kill, the ladder goes on where it was, in the middle of a training.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import loopwright as lw
from benchmarks._table import Row, arguments, print_machine, print_rows, versions, write_json

IMAGEWOOF = Path(
    os.environ.get("LOOPWRIGHT_IMAGEWOOF", Path(__file__).parents[2] / "shared" / "data" / "imagewoof-160")
)
CLASSES = 10


@dataclass(frozen=True)
class Rung:
    """A training: how it steps, and from which rate."""

    title: str
    optimizer: str
    schedule: str
    lr: float | None = None  # None: found
    smoothing: float = 0.0
    model: str = "resnet18"


RUNGS = {
    "sgd": Rung("SGD 0.1, stepped", "SGD", "stepped", lr=0.1),
    "found": Rung("SGD, found rate, stepped", "SGD", "stepped"),
    "cycle": Rung("SGD, found rate, one cycle", "SGD", "cycle"),
    "adamw": Rung("AdamW, found rate, one cycle", "AdamW", "cycle"),
    "ours": Rung(
        "ours: the same, smoothed labels, ResNet-18-D", "AdamW", "cycle", smoothing=0.1, model="timm/resnet18d"
    ),
}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, help="trainings of each rung (default 3; 1 if --quick)")
    parser.add_argument("--epochs", type=int, help="of each training (default 5; 1 if --quick)")
    parser.add_argument("--size", type=int, help="of the pictures, in pixels (default 64; 32 if --quick)")
    parser.add_argument("--images", type=int, help="train on so many only (default all; 1000 if --quick)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--data", type=Path, default=IMAGEWOOF, help="a folder with train and val parts")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--precision", default="auto", help="of the trainings (default auto: bf16 on GPUs that have it)"
    )
    parser.add_argument("--folder", type=Path, help="to go on in; a folder for these settings alone")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder. LOOPWRIGHT_IMAGEWOOF or --data names another place")
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (1 if options.quick else 5)
    options.size = options.size or (32 if options.quick else 64)
    options.images = options.images or (1000 if options.quick else None)
    for name in options.only:
        network(RUNGS[name], 0)  # an extra that is missing is said now
    print_machine("start")
    with tempfile.TemporaryDirectory() as passing:
        folder = options.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        rows = climb(options, folder)
    print_rows(rows, ratio="of the first", highest_first={row.case for row in rows})
    write_json(rows, options.json)


def climb(options: Any, folder: Path) -> list[Row]:
    train, val = (packed(options.data, part, folder, options) for part in ("train", "val"))
    if options.images is not None and options.images < len(train):
        train = lw.Part(train, range(0, len(train), len(train) // options.images))
    rates: dict[str, float] = {}
    found: dict[str, list[float]] = {name: [] for name in options.only}
    for seed in range(options.seeds):
        for name, values in found.items():
            if name not in rates:
                rates[name] = RUNGS[name].lr or found_rate(RUNGS[name], train, options, folder)
                print(f"  {name}: learning rate {rates[name]:.2g}", flush=True)
            began, place = time.perf_counter(), folder / f"{name}-{seed}"
            if not is_finished(place):
                train_one(RUNGS[name], rates[name], seed, train, val, options, place)
            values.append(100 * [line["val/top1"] for line in lw.read_metrics(place) if "val/top1" in line][-1])
            took = time.perf_counter() - began
            print(f"  seed {seed}  {name:8}{values[-1]:6.2f} %  ({took:.0f} s)", flush=True)
    return rows_of(found, rates, options)


def packed(data: Path, part: str, cache: Path, options: Any) -> Any:
    """All pictures decoded once, no smaller than they are needed."""
    return lw.pack(lw.ImageFolder(data, split=part), cache / f"{part}.pack", size=max(options.size * 5 // 4, 40))


def network(rung: Rung, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return lw.build_model(rung.model, num_classes=CLASSES)


def stepper(rung: Rung, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    groups = lw.param_groups(model, weight_decay=0.05 if rung.optimizer == "AdamW" else 5e-4)
    more = {} if rung.optimizer == "AdamW" else {"momentum": 0.9}
    return lw.build_optimizer(rung.optimizer, groups, lr=lr, **more)


def loss_of(rung: Rung) -> Callable[..., torch.Tensor]:
    return lambda output, labels: F.cross_entropy(output, labels, label_smoothing=rung.smoothing)


def loader_of(data: Any, options: Any, *, train: bool) -> lw.Loader:
    if train:
        crop = lw.RandomResizedCrop(options.size, scale=(0.35, 1.0))
        return lw.Loader(data, options.batch, transform=crop, shuffle=True, drop_last=True, seed=0)
    return lw.Loader(data, 256, transform=lw.CenterCrop(options.size))


def found_rate(rung: Rung, train: Any, options: Any, folder: Path) -> float:
    """Of the rung's optimizer and network: searched for once."""
    file = folder / f"{rung.optimizer}-{rung.model.replace('/', '-')}-rate.json"
    if not file.exists():
        file.write_text(json.dumps(look_for_rate(rung, train, options)))
    return json.loads(file.read_text())


def look_for_rate(rung: Rung, train: Any, options: Any) -> float:
    model = network(rung, 0).to(lw.choose_compute(options.device).device)
    loader = loader_of(train, options, train=True)
    try:
        return lw.find_lr(model, stepper(rung, model, 0.01), loader, loss=loss_of(rung)).lr
    finally:
        loader.close()


def schedule(rung: Rung, optimizer: torch.optim.Optimizer, lr: float, steps: int) -> Any:
    if rung.schedule == "cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, steps * 3 // 4], gamma=0.1)


def is_finished(folder: Path) -> bool:
    return (folder / "run.json").exists() and lw.read_run(folder)["state"] == "finished"


def train_one(rung: Rung, lr: float, seed: int, train: Any, val: Any, options: Any, folder: Path) -> None:
    """And measure the last epoch's weights, on the whole validation part."""
    with lw.Run(
        folder, seed=seed, device=options.device, precision=options.precision, save_every="1 epoch",
        progress=False,
    ) as run:  # fmt: skip
        loader, val_loader = loader_of(train, options, train=True), loader_of(val, options, train=False)
        loader.seed = seed
        model = run.prepare(network(rung, seed))
        optimizer = stepper(rung, model, lr)
        scheduler = schedule(rung, optimizer, lr, options.epochs * len(loader))
        run.register(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in run.epochs(options.epochs):
            for images, labels in run.batches(loader):
                with run.autocast():
                    loss = loss_of(rung)(model(images), labels)
                run.step(loss, optimizer, scheduler=scheduler)
                run.log(loss=loss)
        with run.evaluate(model):
            for images, labels in run.batches(val_loader):
                with run.autocast():
                    run.log(top1=lw.topk_accuracy(model(images), labels))


def rows_of(found: dict[str, list[float]], rates: dict[str, float], options: Any) -> list[Row]:
    case = f"Imagewoof, {options.size} px, {options.epochs} epochs, {options.images or 'all'} pictures"
    installed, base = versions(["loopwright", "torch"])[0], statistics.mean(next(iter(found.values())))
    rows = []
    for name, values in found.items():
        mean, more = statistics.mean(values), f"lr {rates[name]:.2g}, sd {_spread(values):.2f}"
        rows.append(
            Row(case, RUNGS[name].title, mean, "%", mean / base, len(values), values, versions=installed, note=more)
        )
    return rows


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()

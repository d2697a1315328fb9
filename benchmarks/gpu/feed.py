"""Whether a GPU waits for pictures: ResNet training at 224 px with synthetic batches, from JPEG files and from a pack.

    python -m benchmarks.gpu.feed [--quick] [--json FILE] [--rounds N] [--seconds S] [--batch N] [--workers N]
                                  [--cache FOLDER] [--device DEVICE]

ResNet-18 and ResNet-50 in bf16, channels-last, SGD, one optimizer step a batch, in `lw.Run`'s loop. Synthetic batches lie on
the device already: nobody can be faster. Systems take turns in random order; each figure is the median over rounds of the
images a second from an idle device to an idle device. The pack holds the same photographs, short side 256, decoded
once. `--device cpu` tries the program out where there is no GPU; its figures mean nothing.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import loopwright as lw
from benchmarks._camera import SMALL, album_ready
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json

MODELS = ("resnet18", "resnet50")
SYNTHETIC, COLD, PACKED = "synthetic batches on the device", "JPEG files", "packed, short side 256"
SIDE, CLASSES = 224, 1000


class Synthetic:
    """The same normalised batch again and again, where it is needed."""

    def __init__(self, batch: int, device: torch.device) -> None:
        images = torch.randn(batch, 3, SIDE, SIDE, device=device)
        self._batch = images.contiguous(memory_format=torch.channels_last), torch.arange(batch, device=device) % CLASSES

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self._batch


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, help="how often each is measured (default 7; 2 if --quick)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (default 10; 3 if --quick)")
    parser.add_argument("--batch", type=int, default=256, help="images a step")
    parser.add_argument("--workers", type=int, help="of the loaders (default: by the cores)")
    parser.add_argument("--cache", type=Path, help="folder for the photographs (default: a temporary one)")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("this needs a CUDA device; --device cpu tries the program out")
    print_machine("start")
    with contextlib.ExitStack() as stack:
        cache = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = measure(options, cache)
    print_rows(rows, ratio="of synthetic", highest_first={row.case for row in rows})
    write_json(rows, options.json)


def measure(options: Any, cache: Path) -> list[Row]:
    feeds = prepared(options, cache)
    rounds, seconds = options.rounds or (2 if options.quick else 7), options.seconds or (3 if options.quick else 10)
    rows = []
    for name in MODELS:
        rates: dict[str, list[float]] = {feed: [] for feed in feeds}
        for number in range(rounds + 1):  # the first one warms up
            for feed in random.Random(number).sample(list(feeds), len(feeds)):
                rate = train(name, feeds[feed], seconds, options.device)
                if number:
                    rates[feed].append(rate)
        base = statistics.median(rates[SYNTHETIC])
        installed = versions(["loopwright", "torch"])[0]
        for feed, values in rates.items():
            ratio = statistics.median(values) / base
            rows.append(median_row(name, feed, values, "images/s", versions=installed, ratio=ratio))
    return rows


def prepared(options: Any, cache: Path) -> dict[str, Callable[[], Any]]:
    """What gives each system's batches."""
    album_ready(SMALL, cache)
    photos = lw.ImageFolder(SMALL.folder(cache))
    packed = lw.pack(photos, cache / "feed.pack", size=256, overwrite=True)
    crop = lw.RandomResizedCrop(SIDE)

    def loader(data: Any) -> lw.Loader:
        return lw.Loader(data, options.batch, transform=crop, shuffle=True, drop_last=True, workers=options.workers)

    device = torch.device(options.device)
    return {
        SYNTHETIC: lambda: Synthetic(options.batch, device),
        COLD: lambda: loader(photos),
        PACKED: lambda: loader(packed),
    }


def train(name: str, feed: Callable[[], Any], seconds: float, device: str) -> float:
    """Images a second of a training that has begun."""
    precision = "bf16" if device == "cuda" else "fp32"
    with (
        tempfile.TemporaryDirectory() as folder,
        lw.Run(folder, seed=0, device=device, precision=precision, save_every="1000 epochs", progress=False) as run,
    ):
        model = run.prepare(lw.build_model(name, num_classes=CLASSES))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run.register(model=model, optimizer=optimizer)
        model.train()
        return _rate(run, model, optimizer, feed(), seconds)


def _rate(run: lw.Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, loader: Any, seconds: float) -> float:
    began, images_seen, warm = 0.0, 0, 5
    for _ in run.epochs(1000):
        for images, labels in run.batches(loader):
            with run.autocast():
                loss = F.cross_entropy(model(images), labels % CLASSES)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)
            if run.global_step == warm:
                _wait(run)
                began = time.perf_counter()
            elif run.global_step > warm:
                images_seen += len(images)
                if time.perf_counter() - began > seconds:
                    _wait(run)
                    return images_seen / (time.perf_counter() - began)
    raise AssertionError("a thousand epochs took less than the seconds asked for")


def _wait(run: lw.Run) -> None:
    if run.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

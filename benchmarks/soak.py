"""Whether anything grows while a run goes on: memory, file handles, threads, child processes, time of a step.

    python -m benchmarks.soak [--quick] [--json FILE] [--steps N] [--plot FILE.svg]

A small network on small crops of packed demo photographs: read by two processes through shared memory, logged every step,
validated and saved every few hundred steps beside the loop, the best kept. What the process holds is looked at four
hundred times; growth is the median of the last fifth against the median of the second fifth.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import nn

import loopwright as lw
from benchmarks._table import Row, arguments, print_machine, print_rows, versions, write_json

LOOKS, BATCH, PIXELS = 400, 4, 8
UNITS = {
    "resident": "MB",
    "readers": "MB",
    "handles": "",
    "threads": "",
    "processes": "",
    "step": "us",
    "disk": "MB",
}
LIMITS = {"resident": 1.03, "readers": 1.03, "handles": 1.0, "threads": 1.0, "processes": 1.0}


@dataclass(frozen=True)
class Look:
    """What a run holds at a step."""

    at: int
    resident: float  # MB of the training process
    readers: float  # MB of its children, each one's own
    handles: int
    threads: int
    processes: int
    step: float  # microseconds a step since the look before
    disk: float  # MB of the run's folder


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--steps", type=int, help="of the training (default 200000; 10000 if --quick)")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw what was seen")
    options = parser.parse_args()
    steps = options.steps or (10_000 if options.quick else 200_000)
    print_machine("start")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        looks = soak(Path(folder), steps)
    rows = rows_of(looks)
    print_rows(rows, ratio="end / start")
    print_verdict(rows)
    print_machine("\nend")
    write_json(rows, options.json)
    if options.plot:
        options.plot.write_text(drawing(looks))


def soak(folder: Path, steps: int) -> list[Look]:
    packed = lw.pack(lw.ImageFolder(lw.demo_photos(), split="train"), folder / "train.pack", size=16, progress=False)
    val = lw.ImageFolder(lw.demo_photos(), split="val")
    looks: list[Look] = []
    with lw.Run(folder / "run", seed=0, device="cpu", save_every="500 steps", progress=False) as run:
        model = run.prepare(nn.Sequential(nn.Flatten(), nn.Linear(3 * PIXELS**2, 32), nn.ReLU(), nn.Linear(32, 10)))
        optimizer = torch.optim.AdamW(model.parameters())
        run.register(model=model, optimizer=optimizer)
        train = lw.Loader(packed, BATCH, transform=lw.RandomResizedCrop(PIXELS), shuffle=True, workers=2)
        val_loader = lw.Loader(val, 64, transform=lw.CenterCrop(PIXELS), workers=1)
        look = looker(folder / "run", looks)
        for epoch in run.epochs(f"{steps} steps"):
            for pictures, labels in run.batches(train):
                loss = F.cross_entropy(model(pictures), labels)
                run.step(loss, optimizer)
                run.log(loss=loss)
                if run.global_step % max(1, steps // LOOKS) == 0:
                    look(run.global_step)
            if epoch % 20 == 0:
                with run.evaluate(model):
                    for pictures, labels in run.batches(val_loader):
                        run.log(top1=lw.topk_accuracy(model(pictures), labels))
                run.keep_best("val/top1")
    return looks


def looker(folder: Path, looks: list[Look]) -> Callable[[int], None]:
    process, last = psutil.Process(), [0, time.perf_counter()]

    def look(step: int) -> None:
        took = (time.perf_counter() - last[1]) / (step - last[0]) * 1e6
        children = process.children(recursive=True)
        looks.append(
            Look(
                step,
                process.memory_info().rss / 1e6,
                sum(child.memory_full_info().uss for child in children) / 1e6,
                process.num_fds(),
                process.num_threads(),
                len(children),
                took,
                sum(path.stat().st_size for path in folder.glob("checkpoints/step-*/*")) / 1e6,
            )
        )
        last[:] = [step, time.perf_counter()]

    return look


def rows_of(looks: list[Look]) -> list[Row]:
    fifth, installed = len(looks) // 5, versions(["torch"])[0]
    rows = []
    for name, unit in UNITS.items():
        seen = [getattr(look, name) for look in looks]
        start, end = statistics.median(seen[fifth : 2 * fifth]), statistics.median(seen[-fifth:])
        rows.append(
            Row(
                f"held after {looks[-1].at:,} steps",
                name,
                end,
                unit,
                end / start if start else None,
                len(seen),
                seen,
                installed,
                f"{start:.6g} at first, at most {max(seen):.6g}",
            )
        )
    return rows


def print_verdict(rows: list[Row]) -> None:
    print()
    for row in rows:
        if row.system in LIMITS and row.ratio is not None:
            verdict = "met" if row.ratio <= LIMITS[row.system] else "MISSED"
            print(f"  {row.system}: {row.ratio:.4f} of what it was, at most {LIMITS[row.system]}: {verdict}")


def drawing(looks: list[Look]) -> str:
    """One small panel each, as SVG: from 0 to the most that was seen."""
    names, width, height = [f.name for f in fields(Look)][1:], 640, 90
    columns = list(zip(*map(astuple, looks), strict=True))
    parts = []
    for number, name in enumerate(names):
        seen, top = columns[number + 1], number * (height + 30) + 20
        most = max(seen) or 1
        points = " ".join(
            f"{80 + width * x / columns[0][-1]:.1f},{top + height * (1 - y / (1.1 * most)):.1f}"
            for x, y in zip(columns[0], seen, strict=True)
        )
        parts.append(f'<text x="80" y="{top - 4}">{name} {UNITS[name]}: {seen[-1]:.6g} at the end</text>')
        parts.append(f'<rect x="80" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="#1f5fbf" stroke-width="1.5"/>')
        parts.append(f'<text x="74" y="{top + 10}" text-anchor="end">{1.1 * most:.4g}</text>')
        parts.append(f'<text x="74" y="{top + height}" text-anchor="end">0</text>')
    bottom = len(names) * (height + 30) + 14
    parts.append(f'<text x="80" y="{bottom}">0 steps</text>')
    parts.append(f'<text x="{80 + width}" y="{bottom}" text-anchor="end">{columns[0][-1]:,} steps</text>')
    frame = f'viewBox="0 0 {width + 110} {bottom + 14}" font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>\n' + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    main()

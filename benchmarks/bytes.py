"""What ranks send, save and open: the figures that docs/scale.md reckons with.

    python -m benchmarks.bytes [--quick] [--json FILE]

A ResNet-50 with AdamW: the bytes of its gradients, of a checkpoint, how many files that opens and how often it flushes
to disk; how long two processes of this machine, over gloo, take to add the gradients up, and to agree as they do twice a
second; how many files a folder of pictures opens before the first batch, and how long it lists; what each of the two
processes writes of a checkpoint, and how long that takes, where states are copies (DDP) and where they are split (FSDP).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torchvision.models import resnet50

import loopwright as lw
from benchmarks._port import free_port
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json
from loopwright._distributed import ManyRanks, position

US = "loopwright"
PICTURES = 10_000


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--saves", choices=("ddp", "fsdp"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.saves is not None:
        saves(options.rank, options.saves, 3 if options.quick else 7)
        return
    if options.rank is not None:
        rank(options.rank, 3 if options.quick else 15)
        return
    print_machine("start")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*saved(folder / "run"), *listed(folder / "pictures", 1000 if options.quick else PICTURES)]
        rows += together(folder / "ranks.json", options.quick)
        for kind, title in (("ddp", "copies"), ("fsdp", "split")):
            rows += written(folder / f"{kind}.json", kind, title, options.quick)
    print_rows(rows)
    write_json(rows, options.json)


@contextlib.contextmanager
def heard(events: dict[str, int]) -> Iterator[None]:
    """Counts what Python opens, and flushes to disk, inside."""
    counting = [True]
    flush = os.fsync

    def hook(event: str, _: Any) -> None:
        if counting and event == "open":
            events["opens"] = events.get("opens", 0) + 1

    def counted(file: Any) -> None:
        events["flushes"] = events.get("flushes", 0) + 1
        flush(file)

    sys.addaudithook(hook)
    os.fsync = counted
    try:
        yield
    finally:
        counting.clear()
        os.fsync = flush


def saved(folder: Path) -> list[Row]:
    """One step, one checkpoint."""
    model = resnet50()
    events: dict[str, int] = {}
    with lw.Run(folder, seed=0, device="cpu", progress=False, save_in_background=False) as run:
        model = run.prepare(model)
        optimizer = torch.optim.AdamW(model.parameters())
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(1):
            for images in run.batches([torch.zeros(2, 3, 32, 32)]):
                F.cross_entropy(model(images), torch.zeros(2, dtype=torch.long)).backward()
                optimizer.step()
                optimizer.zero_grad()  # a checkpoint would hold them
    latest = max((folder / "checkpoints").glob("step-*"))
    size = sum(path.stat().st_size for path in latest.iterdir())
    checkpoints = lw.Checkpoints(folder.parent / "again")
    with heard(events):
        checkpoints.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, step=1)
    gradients = sum(p.numel() * p.element_size() for p in model.parameters())
    found = versions(["torch"])[0]
    return [
        Row("gradients of a step", US, gradients, "bytes", versions=found),
        Row("checkpoint", US, size, "bytes", versions=found, note=f"{len(list(latest.iterdir()))} files"),
        Row("files opened for it", US, events["opens"], "files", versions=found),
        Row("flushes to disk for it", US, events["flushes"], "flushes", versions=found),
    ]


def listed(folder: Path, count: int) -> list[Row]:
    """How long an ``ImageFolder`` takes to know its pictures: it opens none."""
    for index in range(count):
        path = folder / f"class-{index % 100:02d}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    events: dict[str, int] = {}
    began = time.perf_counter()
    with heard(events):
        dataset = lw.ImageFolder(folder)
    seconds = time.perf_counter() - began
    assert len(dataset) == count
    note = f"{events.get('opens', 0)} files opened"
    return [Row("pictures listed, in a local page cache", US, count / seconds, "files/s", note=note)]


def together(result: Path, quick: bool) -> list[Row]:
    """What two processes of this machine take."""
    found = two_ranks(result, quick)
    return [
        median_row("gradients added up, gloo", US, found["reduce"], "s", note="two processes of one machine"),
        median_row(
            "two ranks agree", US, [1e3 * seconds for seconds in found["meet"]], "ms", note="at most twice a second"
        ),
    ]


def written(result: Path, kind: str, title: str, quick: bool) -> list[Row]:
    """What two processes write of a checkpoint."""
    found, case = two_ranks(result, quick, "--saves", kind), f"checkpoint of two ranks, states are {title}"
    sizes = " and ".join(f"{size / 1e6:.0f}" for size in found["bytes"])
    return [
        Row(f"{case}: written by the one that writes most", US, max(found["bytes"]), "bytes", note=f"{sizes} MB"),
        median_row(f"{case}: until it is on the disk", US, found["seconds"], "s", note=f"in {found['files']} files"),
    ]


def two_ranks(result: Path, quick: bool, *more: str) -> dict[str, Any]:
    """What rank 0 of two has found."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.bytes", "--rank", str(result), *more, *(["--quick"] if quick else [])]
    ranks = [subprocess.Popen(command, env=os.environ | where | {"RANK": str(index)}) for index in range(2)]
    codes = [process.wait() for process in ranks]
    assert codes == [0, 0], codes
    return json.loads(result.read_text())


def rank(result: Path, rounds: int) -> None:
    """In each of the two."""
    torch.set_num_threads(1)
    ranks = ManyRanks(position())
    ranks.open()
    gradients = torch.ones(25_557_032)
    times: dict[str, list[float]] = {"reduce": [], "meet": []}
    for _ in range(rounds):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(gradients)
        times["reduce"].append(time.perf_counter() - began)
        began = time.perf_counter()
        ranks.gather((began, 0.0, None))
        times["meet"].append(time.perf_counter() - began)
    if ranks.is_main:
        result.write_text(json.dumps(times))
    ranks.close()


def saves(result: Path, kind: str, rounds: int) -> None:
    """In each of the two: a training that saves at every step."""
    torch.set_num_threads(1)
    seconds: list[float] = []
    with lw.Run(
        result.with_suffix(""), seed=0, device="cpu", parallel=kind, save_in_background=False,
        save_every="1 step", keep_last=1, progress=False,
    ) as run:  # fmt: skip
        model = run.prepare(resnet50())
        optimizer = torch.optim.AdamW(model.parameters())
        run.register(model=model, optimizer=optimizer)
        save = run.checkpoints.save

        def timed(*states: Any, **facts: Any) -> lw.Entry:
            began = time.perf_counter()
            try:
                return save(*states, **facts)
            finally:
                seconds.append(time.perf_counter() - began)

        run.checkpoints.save = timed
        for _ in run.epochs(1):
            for images in run.batches([torch.zeros(4, 3, 32, 32)] * rounds):
                F.cross_entropy(model(images), torch.zeros(2, dtype=torch.long)).backward()
                optimizer.step()
                optimizer.zero_grad()
    if lw.is_main():
        files = list((result.with_suffix("") / "checkpoints").glob("step-*/*"))
        sizes = [sum(file.stat().st_size for file in files if _writer(file.name) == rank) for rank in (0, 1)]
        result.write_text(json.dumps({"bytes": sizes, "seconds": seconds, "files": len(files)}))


def _writer(name: str) -> int:
    """The rank that writes a file: parts have their rank's number, as in `model.1.pt`."""
    return 1 if name.endswith(".1.pt") else 0


if __name__ == "__main__":
    main()

"""One rank of a training of which two loops are timed in turns: a plain one, and one with a `lw.Run` or a plain one again.

    python -m benchmarks._rank_task MODEL quick|full ours|again FOLDER CORE

Where there is more than one process, as torchrun's variables say, the plain one has torch's `DistributedDataParallel`.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import loopwright as lw
from benchmarks._clock import TimedBatches
from benchmarks._task import new_model, new_optimizer

BATCHES = 4  # that are gone through again and again


@dataclass(frozen=True)
class Model:
    """A model, and how much of it is timed."""

    title: str
    new: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of a sample
    batch: int  # samples a rank
    steps: int  # in turns with as many of the plain loop
    warm: int


def _resnet() -> nn.Module:
    return lw.build_model("small_resnet", num_classes=10)


def _wide() -> nn.Module:
    return lw.build_model("resnet18", num_classes=10)


MODELS = {
    "perceptron": Model("perceptron, 64 samples a rank", new_model, (784,), 64, 2000, 100),
    "small_resnet": Model("small_resnet at 32 px, 16 pictures a rank", _resnet, (3, 32, 32), 16, 400, 20),
    "resnet18": Model("resnet18 at 64 px, 16 pictures a rank", _wide, (3, 64, 64), 16, 40, 3),
}


def main() -> None:
    name, how, who, folder, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    torch.set_num_threads(1)
    model, rank, ranks = MODELS[name], int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    steps = model.steps if how == "full" else max(10, model.steps // 4)
    draw = torch.Generator().manual_seed(0)
    whole = [(torch.randn(ranks * model.batch, *model.shape, generator=draw),
              torch.randint(10, (ranks * model.batch,), generator=draw)) for _ in range(BATCHES)]  # fmt: skip
    part = slice(rank * model.batch, (rank + 1) * model.batch)
    batches = [(inputs[part], labels[part]) for inputs, labels in whole]
    timed = TimedBatches(whole if who == "ours" else batches, 5, steps, _plain(model, batches), warm=model.warm)
    if who == "ours":
        _ours(model, timed, Path(folder))
    else:
        if ranks > 1:
            torch.distributed.init_process_group("gloo")
        for _ in _plain(model, timed):
            pass
    if not rank:
        found = timed.figures()
        times = {"plain": found["all_bare_wall"], who: found["all_bare_wall"] + found["all_over_wall"]}
        Path(folder, "result.json").write_text(json.dumps(times))


def _new(model: Model) -> nn.Module:
    torch.manual_seed(0)
    made = model.new()
    return made.to(memory_format=torch.channels_last) if len(model.shape) == 3 else made


def _plain(model: Model, batches: Any) -> Iterator[None]:
    """The loop as torch's tutorial has it, one step each time it is asked."""
    made = _new(model)
    wrapped = DistributedDataParallel(made) if torch.distributed.is_initialized() else made
    optimizer = new_optimizer(wrapped)
    for inputs, labels in itertools.cycle(batches) if isinstance(batches, list) else batches:
        loss = F.cross_entropy(wrapped(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield


def _ours(model: Model, batches: Any, folder: Path) -> None:
    with lw.Run(folder / "run", seed=0, device="cpu", progress=False) as run:
        made = run.prepare(_new(model))
        optimizer = new_optimizer(made)
        run.register(model=made, optimizer=optimizer)
        for _ in run.epochs(1):
            for inputs, labels in run.batches(batches):
                loss = F.cross_entropy(made(inputs), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss)


if __name__ == "__main__":
    main()

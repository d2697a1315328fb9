"""loopwright: the loop of its README. The mean of the logged losses goes to metrics.jsonl at every report."""

from pathlib import Path

import torch.nn.functional as F

import loopwright as lw
from benchmarks._clock import TimedBatches
from benchmarks._task import new_model, new_optimizer

# Names are imported when they are first used: these are what the loop of the documentation uses.
USED = [lw.Run, lw.Loader, lw.ImageFolder, lw.RandomResizedCrop, lw.CenterCrop, lw.topk_accuracy, lw.param_groups]


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    with lw.Run(folder / "run", seed=0, progress=None if display else False) as run:
        model = run.prepare(new_model())
        optimizer = new_optimizer(model)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(1):
            for x, y in run.batches(batches):
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss)

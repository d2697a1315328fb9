"""A small training that tests start on several ranks: prints nothing, writes what it saw and its weights.

python tests/ranks_trial.py FOLDER '{"batch": 10, ...}'
"""

import json
import math
import os
import sys
from pathlib import Path

import torch
from torch import nn

import loopwright as lw

torch.set_num_threads(1)


class Numbered:
    """Samples that say which they are."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(count, 8, generator=generator)
        self.targets = torch.randint(0, 3, (count,), generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int):
        return self.inputs[index], self.targets[index], index


def train(folder: Path, settings: dict) -> None:
    told = {"samples": 53, "batch": 10, "epochs": 3, "accumulate": 1, "by_hand": False, "die_at": None, "dropout": 0.0}
    told |= settings
    rank = int(os.environ.get("RANK", 0))
    train = lw.Loader(Numbered(told["samples"]), told["batch"], shuffle=True, workers=0)
    val = lw.Loader(Numbered(23), told["batch"], workers=0)
    options = {"save_every": told.get("save_every", "4 steps"), "report_every": "3 steps", "device": "cpu", "seed": 0}
    options["nonfinite"] = told.get("nonfinite", "stop")
    options["overwrite"] = told.get("overwrite", False)
    torch.manual_seed(0)
    seen = open(folder.parent / f"seen-{rank}.jsonl", "a")  # noqa: SIM115
    with lw.Run(folder, **options) as run:
        middle = nn.BatchNorm1d(16) if told.get("norm") else nn.ReLU()
        model = run.prepare(nn.Sequential(nn.Linear(8, 16), middle, nn.Dropout(told["dropout"]), nn.Linear(16, 3)))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(told["epochs"]):
            for inputs, targets, index in run.batches(train):
                counted = run._count if run._count else 0
                seen.write(json.dumps([run.global_step, index[:counted].tolist()]) + "\n")
                seen.flush()
                if told["die_at"] == [rank, run.global_step] and not (folder.parent / "died").exists():
                    (folder.parent / "died").touch()
                    os.kill(os.getpid(), 9)
                loss = nn.functional.cross_entropy(model(inputs), targets)
                if told.get("nan_at") == [rank, run.global_step]:
                    loss = loss * math.nan
                if told["by_hand"]:
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                else:
                    run.step(loss, optimizer, accumulate=told["accumulate"])
                run.log(loss=loss)
            with run.evaluate(model):
                confusion = lw.Confusion(3)
                for inputs, targets, _ in run.batches(val):
                    output = model(inputs)
                    run.log(loss=nn.functional.cross_entropy(output, targets), top1=lw.topk_accuracy(output, targets))
                    confusion.update(output, targets)
                run.log(confusion=confusion)
            run.keep_best("val/loss")
    torch.save(dict(model.state_dict()), folder.parent / f"weights-{rank}.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), json.loads(sys.argv[2]))

"""A small training of a model with blocks, which tests start on several ranks with one way of being parallel or another."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import torch
from ranks_trial import Numbered
from torch import Tensor, nn

import loopwright as lw
from loopwright import _checkpoints, _sharding

TOLD = {
    "parallel": "fsdp", "samples": 53, "batch": 10, "epochs": 3, "accumulate": 1, "clip": None, "by_hand": False,
    "die_at": None, "die_writing": None, "dropout": 0.0, "norm": False, "ema": None, "early": False, "block": 100,
    "frozen": False, "save_every": "4 steps", "nonfinite": "stop", "nan_at": None, "val": 23, "optimizer": "AdamW",
    "background": "auto", "full": None, "double": False,
}  # fmt: skip


class Block(nn.Module):
    def __init__(self, norm: bool, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(15, 21)
        self.norm = nn.BatchNorm1d(21) if norm else nn.Identity()
        self.outer = nn.Linear(21, 15)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.outer(self.norm(self.inner(x)).relu()))


class Model(nn.Module):
    def __init__(self, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 15)
        self.blocks = nn.ModuleList([Block(norm, dropout) for _ in range(2)])
        self.head = nn.Linear(15, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def train(folder: Path, settings: dict) -> None:
    told = TOLD | settings
    rank = int(os.environ.get("RANK", 0))
    _sharding.SMALLEST_BLOCK = told["block"]
    _spoil_writing(told, rank)
    train = lw.Loader(Numbered(told["samples"]), told["batch"], shuffle=True, workers=0)
    val = lw.Loader(Numbered(told["val"]), told["batch"], workers=0)
    kind = torch.float64 if told["double"] else torch.float32
    torch.manual_seed(0)
    options = {name: told[name] for name in ("parallel", "save_every", "nonfinite")}
    seen = open(folder.parent / f"seen-{rank}.jsonl", "a")  # noqa: SIM115
    with lw.Run(
        folder, report_every="3 steps", device="cpu", seed=0, save_in_background=told["background"], **options
    ) as run:
        model: nn.Module = Model(told["norm"], told["dropout"])
        model.stem.requires_grad_(not told["frozen"])
        model.to(kind)
        make: Any = torch.optim.AdamW
        if told["optimizer"] == "SGD":
            make = functools.partial(torch.optim.SGD, momentum=0.9)
        early = make([p for p in model.parameters() if p.requires_grad], lr=0.01) if told["early"] else None
        model = run.prepare(model)
        optimizer = early or make([p for p in model.parameters() if p.requires_grad], lr=0.01)
        ema = None if told["ema"] is None else lw.EMA(model, told["ema"])
        run.register(model=model, optimizer=optimizer, **({} if ema is None else {"ema": ema}))
        for _ in run.epochs(told["epochs"]):
            for inputs, targets, index in run.batches(train):
                counted = run._count if run._count else 0
                seen.write(json.dumps([run.global_step, index[:counted].tolist()]) + "\n")
                seen.flush()
                if told["die_at"] == [rank, run.global_step] and not (folder.parent / "died").exists():
                    (folder.parent / "died").touch()
                    os.kill(os.getpid(), 9)
                loss = nn.functional.cross_entropy(model(inputs.to(kind)), targets)
                if told["nan_at"] == [rank, run.global_step]:
                    loss = loss * float("nan")
                if told["by_hand"]:
                    loss.backward()
                    if run.global_step % told["accumulate"] == 0:
                        optimizer.step()
                        optimizer.zero_grad()
                else:
                    stepped = run.step(loss, optimizer, accumulate=told["accumulate"], clip=told["clip"])
                    if stepped and ema is not None:
                        ema.update()
                run.log(loss=loss)
            with run.evaluate(model), lw.evaluation_weights() if ema is None else ema.applied(model):
                for inputs, targets, _ in run.batches(val):
                    output = model(inputs.to(kind))
                    run.log(loss=nn.functional.cross_entropy(output, targets), top1=lw.topk_accuracy(output, targets))
            run.keep_best("val/loss")
    seen.close()


def call_fit(folder: Path, settings: dict) -> None:
    """The one call, with all that holds weights; rank 0 keeps what it gives back."""
    _sharding.SMALLEST_BLOCK = 100
    numbered = Numbered(33)
    data = [numbered[index][:2] for index in range(len(numbered))]
    torch.manual_seed(0)
    fitted = lw.fit(
        Model(), data, data[:5], loss=nn.functional.cross_entropy, metrics={"top1": lw.topk_accuracy}, epochs=3,
        batch_size=8, workers=0, ema={"decay": 0.8, "warmup": False}, clip=1.0, unfreeze={0: "head*", 1: "*"},
        scheduler="OneCycleLR", run=folder, device="cpu", seed=0, progress=False, parallel="fsdp", **settings,
    )  # fmt: skip
    fitted.model(torch.zeros(2, 8)).sum().item()
    if lw.is_main():
        torch.save(fitted.model.state_dict(), folder.parent / "fitted.pt")


class Tied(nn.Module):
    """An item of its list shares its weight with the end of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.last = nn.Linear(8, 8)
        self.last.weight = self.items[0].weight

    def forward(self, x: Tensor) -> Tensor:
        for item in self.items:
            x = item(x).tanh()
        return self.last(x)


def train_pair(folder: Path, settings: dict) -> None:
    """Two models with an optimizer each, trained in turns, and evaluations that are broken out of."""
    _sharding.SMALLEST_BLOCK = 10
    data = torch.randn(22, 8, generator=torch.Generator().manual_seed(1))
    batches = [data[:8], data[8:13], data[13:]]
    torch.manual_seed(0)
    with lw.Run(folder, device="cpu", seed=0, progress=False, parallel="fsdp") as run:
        first, second = run.prepare(Tied()), run.prepare(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)))
        one, other = (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in (first, second))
        run.register(first=first, second=second, one=one, other=other)
        for _ in run.epochs(3):
            for batch in run.batches(batches):
                run.step(first(second(batch).detach()).square().mean(), one)
                run.step((second(batch) - batch).square().mean(), other, clip=1.0)
            with run.evaluate(first, second):
                for batch in run.batches(batches):
                    run.log(loss=first(second(batch)).square().mean())
                    break
                for batch in run.batches([data[:1]]):  # all of it is rank 0's
                    run.log(alone=first(second(batch)).square().mean())


def change_late(folder: Path, settings: dict) -> None:
    """Weights that are not those that were measured."""
    torch.manual_seed(0)
    with lw.Run(folder, device="cpu", seed=0, progress=False, parallel="fsdp") as run:
        model = run.prepare(Model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run.register(model=model, optimizer=optimizer)
        with run.evaluate(model, name="before"):  # before any training
            for batch in run.batches([torch.ones(3, 8), torch.ones(1, 8)]):  # of the last one rank 1 has nothing
                run.log(loss=model(batch).square().mean())
        for _ in run.epochs(1):
            for batch in run.batches([torch.ones(8, 8)] * 3):
                model(batch).square().mean().backward()
                with run.evaluate(model):
                    run.log(loss=model(batch).square().mean())
                run.keep_best("val/loss")
                optimizer.step()


def _spoil_writing(told: dict, rank: int) -> None:
    """Let a rank die, or its disk be full, in the middle of writing its parts at a step."""
    write = _checkpoints.write_parts

    def spoilt(folder: Path, own: int, objects: dict) -> dict:
        step = int(folder.name.split("-")[1].split(".")[0])
        if told["full"] == [rank, step]:
            raise OSError(28, "No space left on device")
        if told["die_writing"] == [rank, step] and not (folder.parents[2] / "died").exists():
            write(folder, own, dict(list(objects.items())[:1]))
            (folder.parents[2] / "died").touch()
            os.kill(os.getpid(), 9)
        return write(folder, own, objects)

    _checkpoints.write_parts = spoilt

"""One call: the kinds of batches, losses, optimizers and schedulers that it takes, and what it gives back."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits
from torch import nn
from torch.utils.data import DataLoader

import loopwright as lw

XY = [(torch.randn(4, generator=torch.Generator().manual_seed(i)), torch.tensor(i % 2)) for i in range(30)]


def fit(model: nn.Module, data, folder: Path, val=None, **more) -> lw.Fitted:
    defaults = {"seed": 0, "device": "cpu", "progress": False, "epochs": 2, "workers": 0, "batch_size": 8}
    return lw.fit(model, data, val, run=folder, **{**defaults, **more})


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def test_it_gives_the_model_and_what_happened(tmp_path: Path) -> None:
    model = linear()
    fitted = fit(model, XY, tmp_path, XY, loss=F.cross_entropy, metrics={"top1": lw.topk_accuracy})
    assert fitted.model is model and fitted.folder == tmp_path
    assert (
        fitted.best is not None
        and 0 <= fitted.last("val/top1") <= 1
        and fitted.last("nothing") != fitted.last("nothing")
    )
    assert {line["kind"] for line in fitted.history} == {"epoch", "evaluation"}


def test_without_validation_there_is_none(tmp_path: Path) -> None:
    fitted = fit(linear(), XY, tmp_path, loss=F.cross_entropy)
    assert fitted.best is None and not any("val/loss" in line for line in fitted.history)


def test_a_loader_a_data_loader_and_plain_batches_are_taken_as_they_are(tmp_path: Path) -> None:
    batches = [
        (torch.stack([x for x, _ in XY[i : i + 8]]), torch.stack([y for _, y in XY[i : i + 8]]))
        for i in range(0, 30, 8)
    ]
    ends = []

    class Batches:
        def __iter__(self):
            return iter(batches)

    for name, data in {"loader": lw.Loader(XY, 8, workers=0), "torch": DataLoader(XY, 8), "batches": Batches()}.items():
        ends.append(fit(linear(), data, tmp_path / name, loss=F.cross_entropy).model)
    assert same_bits(ends[0], ends[1]) and same_bits(ends[0], ends[2])


class OwnLoss(nn.Module):
    """Returns its loss in one of the customary ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(4, 2), kind

    def forward(self, x, y):
        loss = F.cross_entropy(self.layer(x), y)
        return {
            "tensor": loss,
            "mapping": {"loss": loss, "more": 1},
            "tuple": (loss, self.layer),
            "attribute": namedtuple("Output", "extra loss")(0, loss),
        }[self.kind]


@pytest.mark.parametrize("kind", ["tensor", "mapping", "tuple", "attribute"])
@pytest.mark.parametrize("batch", ["tuple", "dict", "named"])
def test_a_model_with_its_own_loss(tmp_path: Path, kind: str, batch: str) -> None:
    make = {"tuple": lambda x, y: (x, y), "dict": lambda x, y: {"x": x, "y": y}, "named": namedtuple("Item", "x y")}[
        batch
    ]
    torch.manual_seed(0)
    fitted = fit(OwnLoss(kind), [make(x, y) for x, y in XY], tmp_path)
    assert fitted.last("train/loss") > 0


def test_a_single_tensor_is_its_own_target(tmp_path: Path) -> None:
    fitted = fit(nn.Linear(4, 4), [x for x, _ in XY], tmp_path, loss=F.mse_loss)
    assert fitted.last("train/loss") > 0


def test_several_inputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, a, b):
            return self.layer(torch.cat([a, b], 1))

    fit(Two(), [(x, x, y) for x, y in XY], tmp_path, loss=F.cross_entropy)


def test_a_dictionary_with_a_loss_function_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(lw.ConfigError, match="this one is a dict.*compute="):
        fit(linear(), [{"x": x, "y": y} for x, y in XY], tmp_path, loss=F.cross_entropy)


def test_compute_takes_anything(tmp_path: Path) -> None:
    def compute(model, batch):
        loss = F.cross_entropy(model(batch["x"]), batch["y"])
        return {"loss": loss, "half": loss / 2}

    data = [{"x": x, "y": y} for x, y in XY]
    fitted = fit(linear(), data, tmp_path, data, compute=compute)
    assert fitted.last("val/half") == pytest.approx(fitted.last("val/loss") / 2)
    with pytest.raises(lw.ConfigError, match="one of them must be 'loss'"):
        fit(linear(), data, tmp_path / "b", compute=lambda model, batch: {"lose": torch.ones(())})


def test_optimizers_by_name_function_or_made_are_the_same(tmp_path: Path) -> None:
    ends = []
    for name in ("name", "function", "made"):
        model = linear()
        optimizer = {
            "name": "sgd",
            "function": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            "made": torch.optim.SGD(model.parameters(), lr=0.1),
        }[name]
        ends.append(
            fit(model, XY, tmp_path / name, loss=F.cross_entropy, optimizer=optimizer, lr=0.1, weight_decay=0.0).model
        )
    assert same_bits(ends[0], ends[1]) and same_bits(ends[0], ends[2])


@pytest.mark.parametrize(
    ("scheduler", "calls"),
    [("OneCycleLR", 8), ("CosineAnnealingLR", 8), ("ReduceLROnPlateau", 2), ("ExponentialLR", 2)],
)
def test_schedulers_are_stepped_as_is_customary(tmp_path: Path, scheduler: str, calls: int) -> None:
    arguments = {"gamma": 0.5} if scheduler == "ExponentialLR" else {}
    made = []

    def make(optimizer):
        made.append(lw.build_scheduler(scheduler, optimizer, total_steps=8, **arguments))
        return made[0]

    fit(linear(), XY, tmp_path, XY, loss=F.cross_entropy, scheduler=make)
    assert made[0].last_epoch == calls


def test_the_total_of_a_schedule_follows_from_the_length(tmp_path: Path) -> None:
    fit(linear(), XY, tmp_path / "a", loss=F.cross_entropy, scheduler="OneCycleLR", epochs="5 steps")
    fit(linear(), XY, tmp_path / "b", loss=F.cross_entropy, scheduler="OneCycleLR", accumulate=3)
    with pytest.raises(lw.ConfigError, match="how many steps"):
        fit(linear(), XY, tmp_path / "c", loss=F.cross_entropy, scheduler="OneCycleLR", epochs="1 hour")


def test_patience_stops_it(tmp_path: Path) -> None:
    fitted = fit(linear(), XY, tmp_path, XY, loss=F.cross_entropy, optimizer="sgd", lr=1e-12, epochs=50, patience=3)
    assert sum(line["kind"] == "epoch" for line in fitted.history) < 50


def test_a_resumed_call_goes_on(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def compute(model, batch):
        calls.append(1)
        if len(calls) == die_at:
            raise Cut
        return F.cross_entropy(F.dropout(model(batch[0])), batch[1])

    calls, die_at = [], None
    whole = fit(linear(), XY, tmp_path / "whole", compute=compute, save_every="1 steps")
    calls, die_at = [], 6
    with pytest.raises(Cut):
        fit(linear(), XY, tmp_path / "cut", compute=compute, save_every="1 steps")
    calls, die_at = [], None
    assert same_bits(fit(linear(), XY, tmp_path / "cut", compute=compute, save_every="1 steps").model, whole.model)
    assert len(calls) == 8 - 5


def test_without_a_folder_each_call_gets_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [fit(linear(), XY, None, loss=F.cross_entropy).folder for _ in range(2)]  # type: ignore[arg-type]
    assert [str(folder) for folder in folders] == ["runs/fit", "runs/fit-2"]


@pytest.mark.parametrize("made", ["by name", "torch's own"])
def test_lbfgs_trains_convolutions(tmp_path: Path, made: str) -> None:
    """Their kernels are in channels-last memory, which torch's LBFGS does not read."""
    pictures = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    data = [(picture, (picture[0].mean() > 0.5).long()) for picture in pictures]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(576, 2))
    optimizer = "LBFGS" if made == "by name" else torch.optim.LBFGS(model.parameters(), lr=0.1)
    fitted = lw.fit(
        model,
        data,
        loss=F.cross_entropy,
        optimizer=optimizer,
        lr=0.1,
        epochs=2,
        workers=0,
        run=tmp_path,
        progress=False,
    )
    first, last = (line["train/loss"] for line in fitted.history if "train/loss" in line)
    assert last < first
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_loop_of_ones_own_trains_convolutions_with_torchs_lbfgs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with lw.Run(tmp_path, progress=False) as run:
        model = run.prepare(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(32, 2))
        )
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
        run.register(model=model, optimizer=optimizer)
        pictures, labels = torch.rand(8, 3, 8, 8).to(run.device), torch.arange(8, device=run.device) % 2

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pictures), labels)
            loss.backward()
            return loss

        losses = [optimizer.step(closure).detach().item() for _ in range(5)]
    assert losses[-1] < losses[0]


def test_lbfgs_finds_a_rate_of_convolutions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    batches = [(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1]))]
    lw.find_lr(model, optimizer, batches, loss=F.cross_entropy, mode="runs", rates=[0.1], steps=1)

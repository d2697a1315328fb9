"""The parts of the optimisation in whole trainings: the three faces agree with them on, and so do lives cut short."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import same_bits, tiny_model
from test_faces import small_copy
from torch import Tensor, nn

import loopwright as lw
from loopwright import cli


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Two threads of a tiny network wait for each other, and for whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- three faces ----------------------------------------------------------------------------------------------------

EPOCHS, SIZES = 3, {0: 16, 1: 24}


def by_the_loop(folder: Path, data: Path) -> dict[str, Tensor]:
    """The parts as the user writes them; the averaged weights at the end."""
    train, val = lw.ImageFolder(data, split="train"), lw.ImageFolder(data, split="val")
    with lw.Run(folder, seed=42, device="cpu", progress=False) as run:
        loaders = lw.ByEpoch(SIZES).map(
            lambda size: lw.Loader(train, 16, transform=lw.RandomResizedCrop(size), shuffle=True, workers=0)
        )
        val_loader = lw.Loader(val, 64, transform=lw.CenterCrop(24), workers=0)
        model = run.prepare(lw.small_resnet(10))
        losses = lw.Losses({"a": nn.CrossEntropyLoss(label_smoothing=0.1), "b": (F.cross_entropy, {0: 0.0, 2: 0.5})})
        augment = lw.BatchAugment([lw.OneOf([lw.Mixup(10, alpha=0.4), lw.CutMix(10)])])
        unfreezing = lw.Unfreezing(model, {0: ["head", "stage4"], 1: "*"})
        groups = lw.param_groups(model, lr=0.01, weight_decay=0.05, layer_decay=0.8, rules={"head": {"lr_factor": 2}})
        optimizer = torch.optim.AdamW(groups, lr=0.01)
        steps = lw.total_steps(loaders, EPOCHS)
        scheduler = lw.build_scheduler("CosineAnnealingLR", optimizer, total_steps=steps, warmup="2 steps")
        ema = lw.EMA(model, 0.9)
        run.register(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema)
        judged = lw.TTA(model)
        for epoch in run.epochs(EPOCHS):
            unfreezing(epoch)
            for images, labels in run.batches(loaders(epoch)):
                losses.at(epoch=epoch, step=run.global_step)
                images, labels = augment(images, labels, seed=run.seed, step=run.global_step)
                run.step(losses(model(images), labels), optimizer, clip=1.0, scheduler=scheduler)
                ema.update()
                run.log(losses.values)
            with run.evaluate(judged, losses), ema.applied(model):
                for images, labels in run.batches(val_loader):
                    output = judged(images)
                    losses(output, labels)
                    run.log(losses.values, top1=lw.topk_accuracy(output, labels))
            run.keep_best("val/top1")
    return ema.state_dict()["model"]


def by_one_call(folder: Path, data: Path) -> dict[str, Tensor]:
    train, val = lw.ImageFolder(data, split="train"), lw.ImageFolder(data, split="val")
    torch.manual_seed(42)
    return lw.fit(
        lw.small_resnet(10),
        lw.ByEpoch(SIZES).map(
            lambda size: lw.Loader(train, 16, transform=lw.RandomResizedCrop(size), shuffle=True, workers=0)
        ),
        lw.Loader(val, 64, transform=lw.CenterCrop(24), workers=0),
        loss=lw.Losses({"a": nn.CrossEntropyLoss(label_smoothing=0.1), "b": (F.cross_entropy, {0: 0.0, 2: 0.5})}),
        optimizer="AdamW", lr=0.01, weight_decay=0.05, layer_decay=0.8, rules={"head": {"lr_factor": 2}},
        scheduler={"name": "CosineAnnealingLR", "warmup": "2 steps"},
        augment=lw.BatchAugment([lw.OneOf([lw.Mixup(10, alpha=0.4), lw.CutMix(10)])]),
        unfreeze={0: ["head", "stage4"], 1: "*"}, ema=0.9, tta=True, clip=1.0,
        metrics={"top1": lw.topk_accuracy}, epochs=EPOCHS, run=folder, seed=42, device="cpu", progress=False,
    ).model.state_dict()  # fmt: skip


CONFIG = """
image_size: {epoch 0: 16, epoch 1: 24}
model: small_resnet
epochs: 3
batch_size: 16
seed: 42
device: cpu
workers: 0
mix: [{name: Mixup, alpha: 0.4}, CutMix]
ema: 0.9
tta: true
clip: 1.0
loss:
- {name: CrossEntropyLoss, label_smoothing: 0.1, log_as: a}
- {name: cross_entropy, weight: {epoch 0: 0.0, epoch 2: 0.5}, log_as: b}
optimizer: {name: AdamW, lr: 0.01, weight_decay: 0.05, layer_decay: 0.8, rules: {head: {lr_factor: 2}}}
scheduler: {name: CosineAnnealingLR, warmup: 2 steps}
unfreeze: {epoch 0: [head, stage4], epoch 1: '*'}
"""


def by_the_command(folder: Path, data: Path) -> dict[str, Tensor]:
    (folder.parent / "parts.yaml").write_text(CONFIG)
    assert cli.main(["train", str(folder.parent / "parts.yaml"), f"data={data}", f"run={folder}"]) == 0
    return lw.Checkpoints(folder / "checkpoints").load("latest", only="ema")["model"]


def test_the_three_faces_give_the_same_bits_with_every_part(tmp_path: Path, photos: Path) -> None:
    data = small_copy(photos, tmp_path / "data", 5, 2)
    ends = [face(tmp_path / face.__name__, data) for face in (by_the_loop, by_one_call, by_the_command)]
    assert same_bits(ends[0], ends[1]) and same_bits(ends[0], ends[2])
    values = [
        [[line[f"val/{name}"] for name in ("loss", "a", "b", "top1")] for line in lw.read_metrics(folder) if "val/a" in line]
        for folder in (tmp_path / "by_the_loop", tmp_path / "by_one_call", tmp_path / "by_the_command")
    ]  # fmt: skip
    assert values[0] == values[1] == values[2] and len(values[0]) == EPOCHS


# ---- lives cut short ------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """Stands for a kill: nothing is saved on the way out."""


class ScheduleFreeSGD(torch.optim.Optimizer):
    """The method in its plainest form: gradients are taken at y, z steps, the mean x of the z's is what is measured.

    Source: Defazio et al., "The road less scheduled", NeurIPS 2024.
    """

    def __init__(self, parameters, lr: float, beta: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "k": 0, "training": False})
        self.beta = beta

    def _go(self, weight: float, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] != training:
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.data.lerp_(self.state[p]["z"], weight)
                group["training"] = training

    def eval(self) -> None:
        self._go(1 - 1 / self.beta, False)

    def train(self) -> None:
        self._go(1 - self.beta, True)

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            assert group["training"], "a step in evaluation mode would spoil the average"
            for p in group["params"]:
                if p.grad is None:
                    continue
                z = self.state[p].setdefault("z", p.detach().clone())
                share = 1 / (group["k"] + 1)
                p.lerp_(z, share)  # x moves towards z, and y with it
                p.sub_(p.grad, alpha=group["lr"] * (self.beta * (1 - share)))
                z.sub_(p.grad, alpha=group["lr"])
            group["k"] += 1


def photographs(size: int = 16) -> lw.Loader:
    folder = lw.ImageFolder(lw.demo_photos(), split="train")
    some = lw.Part(folder, range(0, 900, 45))
    return lw.Loader(some, 6, transform=lw.RandomResizedCrop(size), shuffle=True, workers=0)


def matrices() -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 10)
    )


def pieces(part: str) -> dict[str, Any]:
    """What ``fit`` is given for a part; built anew in each life."""
    torch.manual_seed(1)
    model = matrices() if part in ("muon", "lbfgs") else tiny_model()
    given: dict[str, Any] = {
        "model": model,
        "train": photographs(),
        "loss": F.cross_entropy,
        "optimizer": "AdamW",
        "lr": 0.01,
    }
    if part == "ema":
        given |= {"ema": {"decay": 0.9, "warmup": False}}
    elif part == "swa":
        given |= {"swa": 1}
    elif part == "losses":
        given |= {"loss": lw.Losses({"a": F.cross_entropy, "b": (F.multi_margin_loss, lambda step: step / 10)})}
    elif part == "mix":
        given |= {"augment": lw.BatchAugment([lw.OneOf([lw.Mixup(10), lw.CutMix(10)]), lw.BatchErase()])}
    elif part == "sizes":
        given |= {"train": lw.ByEpoch({0: 12, 1: 16}).map(photographs)}
    elif part == "plateau":
        given |= {"scheduler": {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 0.5, "warmup": "1 epochs"}}
    elif part == "warmup":
        given |= {"scheduler": {"name": "CosineAnnealingLR", "warmup": 0.3}}
    elif part == "unfreeze":
        given |= {"unfreeze": {0: "8", 1: ["4", "1"], 2: "*"}, "layer_decay": 0.5}
    elif part == "lbfgs":
        given |= {"optimizer": "LBFGS", "lr": 0.1, "scheduler": {"name": "StepLR", "step_size": 1}}
    elif part == "muon":
        given |= {"optimizer": "Muon", "scheduler": "OneCycleLR"}
    elif part == "schedule-free":
        given |= {"optimizer": lambda parameters: ScheduleFreeSGD(parameters, lr=0.5)}
    elif part == "distillation":
        given |= {
            "loss": None,
            "compute": lw.Distillation(tiny_model(), F.cross_entropy, weight=0.7),
            "tta": {"crops": 5},
        }
    return given


def life(folder: Path, part: str, *, die_at: int | None = None) -> dict[str, Tensor]:
    """One life; killed in the die_at-th training batch of it."""
    given, count = pieces(part), 0
    inner: Callable[..., Any] = given.pop("augment", None) or (lambda images, labels, **_: (images, labels))

    def augment(images: Tensor, labels: Tensor, **place: Any) -> Any:
        nonlocal count
        count += 1
        if count == die_at:
            raise Interrupted
        return inner(images, labels, **place)

    fitted = lw.fit(
        given.pop("model"), given.pop("train"), photographs(), augment=augment, epochs=3, run=folder, seed=7, device="cpu",
        progress=False, save_every="3 steps", report_every="3 steps", **given,
    )  # fmt: skip
    return fitted.model.state_dict()


PARTS = (
    "ema swa losses mix sizes plateau warmup unfreeze lbfgs muon schedule-free distillation"
).split()  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, Tensor]:
    return life(tmp_path_factory.mktemp("plain") / "r", "plain")


@pytest.mark.parametrize("part", PARTS)
def test_cut_short_in_mid_epoch_it_ends_with_the_same_bits_and_record(tmp_path: Path, plain, part: str) -> None:
    whole = life(tmp_path / "whole", part)
    assert not any(tensor.isnan().any() for tensor in whole.values())
    assert whole.keys() != plain.keys() or not same_bits(whole, plain), "the part does nothing"
    with pytest.raises(Interrupted):
        life(tmp_path / "cut", part, die_at=8)  # in the second epoch; the last checkpoint is of its second step
    assert same_bits(life(tmp_path / "cut", part), whole)
    records = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_losses_that_change_are_right_in_a_validation_that_was_stopped(tmp_path: Path) -> None:
    def train(folder: Path, stop_at: int | None = None) -> None:
        measured: list[int] = []

        def metric(output: Tensor, labels: Tensor) -> Tensor:
            measured.append(1)
            if len(measured) == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return lw.topk_accuracy(output, labels)

        losses = lw.Losses({"a": F.cross_entropy, "b": (F.multi_margin_loss, lambda epoch, step: epoch + step / 10)})
        torch.manual_seed(1)
        lw.fit(
            tiny_model(), photographs(), photographs(), loss=losses, metrics={"top1": metric}, epochs=2, run=folder,
            seed=7, device="cpu", progress=False,
        )  # fmt: skip

    train(tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", stop_at=6)  # in the second epoch's, of four batches each
    train(tmp_path / "cut")
    records = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert records[0] == records[1]


def test_schedule_free_is_measured_at_its_mean(tmp_path: Path) -> None:
    """The validation loss is that of the weights that fit gives back."""
    torch.manual_seed(0)
    data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(16)]
    fitted = lw.fit(
        nn.Linear(4, 2), data, data, loss=F.cross_entropy, optimizer=lambda p: ScheduleFreeSGD(p, lr=5.0), epochs=3,
        batch_size=4, run=tmp_path, seed=0, workers=0, progress=False, device="cpu",
    )  # fmt: skip
    x, y = torch.stack([x for x, _ in data]), torch.stack([y for _, y in data])
    assert F.cross_entropy(fitted.model(x), y).item() == pytest.approx(fitted.last("val/loss"), rel=1e-4)


@pytest.mark.parametrize("name", ["AdamWScheduleFree", "SGDScheduleFree"])
def test_the_packages_own_schedule_free(tmp_path: Path, name: str) -> None:
    pytest.importorskip("schedulefree")
    data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(16)]

    def train(folder: Path, epochs: int = 3, **options: Any) -> nn.Module:
        torch.manual_seed(0)
        return lw.fit(
            nn.Linear(4, 2), data, data, loss=F.cross_entropy, optimizer=name, lr=0.1, epochs=epochs, batch_size=4,
            run=folder, seed=0, workers=0, progress=False, device="cpu", **options,
        ).model  # fmt: skip

    whole = train(tmp_path / "whole")
    train(tmp_path / "cut", epochs=2)
    assert same_bits(train(tmp_path / "cut", resume=True), whole)


class TestMistakes:
    def test_of_fit(self, tmp_path: Path) -> None:
        data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(8)]

        def fit(**arguments: Any) -> Any:
            given = {
                "loss": F.cross_entropy,
                "run": tmp_path / str(len(list(tmp_path.iterdir()))),
                "workers": 0,
            } | arguments
            return lw.fit(nn.Linear(4, 2), data, data, progress=False, epochs=1, **given)

        for arguments, message in [
            ({"ema": 0.9, "swa": 1}, "exclude each other"),
            ({"swa": -1}, "first epoch of the mean"),
            ({"optimizer": torch.optim.SGD, "layer_decay": 0.5}, "given as a name"),
            ({"optimizer": "LBFGS", "clip": 1.0}, "accumulate, clip and fp16 are not for it"),
            ({"optimizer": "Muon"}, "none is one: torch's takes no kernels"),
            ({"unfreeze": {1: "*"}}, "from epoch 0 on"),
            ({"unfreeze": {0: "weigth"}}, "did you mean 'weight'"),
            ({"tta": {"crops": 3}}, "crops must be 1 or 5"),
            ({"scheduler": {"name": "StepLR", "step_sise": 2}}, "did you mean 'step_size'"),
        ]:
            with pytest.raises(lw.ConfigError, match=message):
                fit(**arguments)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("image_size={epoch 1: 16}", "image_size: say what holds from the start: 'epoch 0' is missing"),
            ("image_size={epoch 0: 4}", "image_size.epoch 0 should be a whole number between 8 and 4096, is 4"),
            ("mix=Mixp", "mix: there is no mix 'Mixp': did you mean 'Mixup'?"),
            ("mix={name: mixup, alfa: 1}", "mix.alfa is not an argument of Mixup: did you mean 'alpha'?"),
            ("ema=2", "ema.decay should be a number between 0 and 1, is 2"),
            ("tta={crop: 5}", "unknown key 'tta.crop': did you mean 'tta.crops'"),
            ("loss=[{name: l1_loss, weight: {epoch x: 1}}]", "loss.0.weight: 'epoch x' is not an epoch"),
            ("loss=[l1_loss, l1_loss]", "loss: two are named 'l1_loss': give one of them log_as"),
            ("loss=[{name: l1_loss, phase: val}]", "loss: none of the losses is for train"),
            ("optimizer={rules: {head: {lr_fctor: 3}}}", "there is no setting 'lr_fctor': did you mean 'lr_factor'?"),
            ("scheduler={name: CosineAnnealingLR, warmup: 5}", "such as '500 steps' or '2 epochs'"),
            ("unfreeze={epoch 0: fcc}", "unfreeze: no parameter of the ResNet is like 'fcc': did you mean 'fc'?"),
            ("freeze=layr1", "freeze: no parameter of the ResNet is like 'layr1': did you mean 'layer1'"),
            ("optimizer={name: Moun}", "there is no optimizer 'Moun': did you mean 'Muon'"),
            ("distill={model: resnet18}", "distill.weights is missing"),
        ],
    )
    def test_of_the_command(
        self, tmp_path: Path, photos: Path, monkeypatch, capsys, setting: str, message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["train", f"data={photos}", "image_size=16", setting]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.rglob("run.json"))

    def test_swa_and_ema_of_the_command(self, tmp_path: Path, photos: Path, monkeypatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)
        assert cli.main(["train", f"data={photos}", "swa=1", "ema=0.9"]) == 2
        assert "exclude each other" in capsys.readouterr().err


def test_the_dry_run_shows_the_parts(tmp_path: Path, photos: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = small_copy(photos, tmp_path / "data", 2, 1)
    (tmp_path / "parts.yaml").write_text(CONFIG)
    assert cli.main(["train", "parts.yaml", f"data={data}", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "sizes      epoch 0: 16, epoch 1: 24",
        "rates      6 learning rates",
        "mix        OneOf",
        "ema        ",
        "tta        ",
    ):
        assert f"\n{line}" in shown, line
    assert "labels (16, 10)" in shown  # mixed


def test_the_command_learns_from_a_teacher_and_freezes(tmp_path: Path, photos: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = small_copy(photos, tmp_path / "data", 3, 1)
    common = [f"data={data}", "image_size=16", "epochs=1", "workers=0", "device=cpu", "model=small_resnet"]
    assert cli.main(["train", *common, "run=teacher"]) == 0
    teacher = "distill={weights: teacher, model: small_resnet, temperature: 4}"
    assert cli.main(["train", *common, "run=student", teacher, "weights=teacher", "freeze=[stem, norm]"]) == 0
    names = {name for line in lw.read_metrics("student") for name in line}
    assert {"train/task", "train/distillation", "val/top1"} <= names
    ends = [lw.Checkpoints(f"{name}/checkpoints").load(only="model") for name in ("teacher", "student")]
    assert torch.equal(ends[0]["stem.weight"], ends[1]["stem.weight"])
    assert torch.equal(ends[0]["norm.running_mean"], ends[1]["norm.running_mean"])
    assert not torch.equal(ends[0]["head.weight"], ends[1]["head.weight"])

"""The ejected program is what ``train`` does: the same bits, also after a kill; and it reads as if written by hand."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import forked, same_bits
from test_faces import small_copy
from torch.optim.optimizer import register_optimizer_step_pre_hook

import loopwright as lw
from loopwright import cli
from loopwright.recipes._eject import SETTINGS, eject
from loopwright.recipes._settings import TrainSettings

RUFF = Path(sys.executable).with_name("ruff")
FAST = "data=data | device=cpu | model=model:build | image_size=16 | epochs=2 | batch_size=8 | workers=0"
OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.first, self.norm, self.drop = nn.Conv2d(3, width, 3, 4), nn.BatchNorm2d(width), nn.Dropout(0.3)
        self.last = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.last(self.drop(self.norm(self.first(x)).relu().mean((2, 3))))

def build(num_classes, width=4):
    return Net(num_classes, width).eval()  # fit makes it train

class Focal(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, output, labels):
        share = torch.log_softmax(output, 1).gather(1, labels[:, None])
        return -(((1 - share.exp()) ** self.gamma) * share).mean()

def hinge(output, labels, margin=1.0):
    return nn.functional.multi_margin_loss(output, labels, margin=margin)

def spoilt(output, labels):
    loss = nn.functional.cross_entropy(output, labels)
    return loss * float("nan") if output.requires_grad and labels[0] % 2 == 0 else loss

class Faded:
    def __init__(self, factor=0.5, size=9):
        self.factor, self.size = factor, size

    def __call__(self, picture):
        return picture.point(lambda value: value * self.factor).resize((self.size, self.size))

def halving(optimizer, every=1):
    return torch.optim.lr_scheduler.StepLR(optimizer, every, 0.5)

class Plain(torch.optim.SGD):
    pass

class Free(torch.optim.SGD):
    # Trains at one place and measures another one, as Schedule-Free does.

    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        self.param_groups[0]["training"] = False

    def _go(self, factor, training):
        if self.param_groups[0]["training"] != training:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.mul_(factor)
            self.param_groups[0]["training"] = training

    def train(self):
        self._go(0.5, True)

    def eval(self):
        self._go(2.0, False)

class Matrices(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 16),
                         nn.Linear(16, num_classes))
"""

CASES = {
    "as it is": "",
    "weights": "model=small_resnet | weights=start.pt | loss={name: CrossEntropyLoss, label_smoothing: 0.1} | epochs=1",
    "per epoch": "optimizer={name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0} | "
    "scheduler={name: MultiStepLR, milestones: [1], gamma: 0.3} | save_every=[3 steps, 0.5 epochs]",
    "plateau": "scheduler={name: ReduceLROnPlateau, patience: 0, factor: 0.2} | epochs=3",
    "accumulate": "accumulate=2 | drop_last=true | ema=0.9",
    "clip": "clip=0.1 | precision=fp32 | seed=7 | loss={name: cross_entropy, label_smoothing: 0.2}",
    "augment": "augment=[{name: RandomResizedCrop, scale: [0.3, 1.0], flip: 0.0}, {name: ColorJitter, brightness: 0.4}, "
    "{name: RandomAffine, degrees: 9}]",
    "own parts": "model={name: 'model:build', width: 6} | loss={name: 'model:Focal', gamma: 1.5} | "
    "optimizer.name=model:Plain | augment={name: 'model:Faded', factor: 0.9} | "
    "scheduler={name: 'model:halving', every: 1}",
    "patience": "patience=1 | optimizer.lr=0.5 | epochs=4",
    "packs": "data=packed | precision=bf16",
    "a table": "data=listed.csv | table={image: file, label: kind, split_column: part, root: data, outside: true, "
    "weight: w}",
    "many parts": "model=small_resnet | image_size={epoch 0: 16, epoch 1: 24} | mix=[{name: mixup, alpha: 0.4}, CutMix] | "
    "ema=0.9 | tta=true | loss=[{name: CrossEntropyLoss, label_smoothing: 0.1, log_as: a}, "
    "{name: cross_entropy, weight: {epoch 0: 0.0, epoch 2: 0.5}, log_as: b}] | "
    "optimizer={lr: 0.01, layer_decay: 0.8, rules: {head: {lr_factor: 2}}} | "
    "scheduler={name: CosineAnnealingLR, warmup: 2 steps} | unfreeze={epoch 0: [head, stage4], epoch 1: '*'}",
    "teacher": "model=small_resnet | swa=1 | epochs=3 | freeze=[stem, norm] | "
    "distill={weights: start.pt, model: small_resnet, weight: 0.7, temperature: 3} | "
    "scheduler={name: CosineAnnealingLR, per: epoch}",
    "closure": "model=model:Matrices | optimizer={name: lbfgs, lr: 0.1, max_iter: 3} | "
    "loss=[cross_entropy, {name: 'model:hinge', weight: 0.5}] | "
    "scheduler=OneCycleLR | ema={decay: 0.8, warmup: false} | nonfinite=log",
    "modes": "optimizer={name: 'model:Free', lr: 0.1} | scheduler=none | tta={crops: 5, flip: false} | nonfinite=skip | "
    "accumulate=2 | loss=model:spoilt",
}  # fmt: skip
MORE = {
    "mixup": "mix=Mixup",
    "growing": "image_size={epoch 0: 16, epoch 1: 20, epoch 2: 24} | epochs=3 | workers=1 | scheduler=StepLR | "
    "scheduler.step_size=1 | augment=none",
    "growing, changed": "image_size={epoch 0: 16, epoch 1: 20} | epochs=5 steps | "
    "augment=[RandomResizedCrop, {name: ColorJitter, brightness: 0.4}, {name: Resize}]",
    "ema, fp16": "ema=0.9 | precision=fp16",
    "ema, skip": "ema={decay: 0.9, warmup: false} | nonfinite=skip | clip=0.5 | loss=model:spoilt",
    "swa": "swa=0 | model=small_resnet | precision=bf16",
    "swa, growing": "swa=1 | image_size={epoch 0: 16, epoch 1: 20} | epochs=3 | tta=true | patience=1",
    "swa, modes": "swa=1 | optimizer={name: 'model:Free', lr: 0.1} | scheduler=none",
    "freeze": "model=small_resnet | weights=start.pt | freeze=stem",
    "freeze, own": "freeze=first",
    "frozen by a rule": "optimizer.rules={first: {frozen: true}} | unfreeze={epoch 0: last, epoch 1: '*'}",
    "rates, one cycle": "optimizer.rules={first: {lr: 0.02}, last: {weight_decay: 0.1}}",
    "layers": "model=small_resnet | optimizer.layer_decay=0.7 | scheduler={name: CyclicLR, base_lr: 0.001, max_lr: 0.1}",
    "warm-up, share": "scheduler={name: PolynomialLR, warmup: 0.2, power: 2.0}",
    "warm-up, epochs": "scheduler={name: CosineAnnealingLR, warmup: 0.5 epochs} | epochs=3",
    "warm-up, plateau": "scheduler={name: ReduceLROnPlateau, patience: 0, warmup: 1 epochs} | epochs=3",
    "warm-up, accumulate": "scheduler={name: CosineAnnealingLR, warmup: 0.3} | accumulate=2",
    "warm-up, unknown length": "scheduler={name: ExponentialLR, gamma: 0.5, warmup: 1 epochs} | epochs=6 steps",
    "warm-up, own": "scheduler={name: 'model:halving', warmup: 1 epochs}",
    "per step": "scheduler={name: StepLR, step_size: 2, per: step}",
    "one cycle per epoch": "scheduler={name: OneCycleLR, per: epoch, pct_start: 0.5} | epochs=4",
    "no momentum": "optimizer={name: SGD, lr: 0.1}",
    "muon": "model=model:Matrices | optimizer={name: Muon, adamw_lr: 0.001}",
    "timm's of torch's name": "optimizer={name: timm/adafactor, lr: 0.01} | scheduler=none",
    "lbfgs": "model=model:Matrices | optimizer={name: LBFGS, lr: 0.1} | "
    "mix=CutMix | scheduler={name: StepLR, step_size: 1} | precision=bf16",
    "lbfgs, teacher": "model=model:Matrices | optimizer={name: LBFGS, lr: 0.1, max_iter: 2} | "
    "distill={weights: start.pt, model: small_resnet}",
    "lbfgs, rules": "model=model:Matrices | optimizer={name: LBFGS, lr: 0.1, rules: {'2': {frozen: true}}}",
    "losses, phases": "loss=[{name: cross_entropy, phase: train, weight: {epoch 0: 0.5, epoch 2: 1.0}}, "
    "{name: 'model:Focal', phase: val}, {name: 'model:hinge', weight: 0.2}]",
    "losses, teacher": "model=small_resnet | loss=[cross_entropy, {name: 'model:hinge', weight: 0.1}] | "
    "distill={weights: start.pt, model: small_resnet, weight: 0.3}",
    "a loss with a weight": "loss.weight=2",
    "a loss with a name": "loss={name: 'model:Focal', log_as: focal}",
    "own loss, teacher": "model=small_resnet | loss=model:Focal | distill={weights: start.pt, model: small_resnet}",
    "skip": "nonfinite=skip | loss={name: 'model:spoilt', log_as: a} | scheduler=StepLR | scheduler.step_size=1",
    "torchvision's": "model={name: squeezenet1_1, dropout: 0.3} | image_size=32 | scheduler=none | epochs=1",
    "timm's": "model={name: timm/test_resnet, drop_rate: 0.1} | optimizer={name: lion, lr: 0.0003} | epochs=1",
    "cosine": "scheduler=cosineannealinglr | epochs=7 steps",
    "own length": "scheduler={name: CosineAnnealingLR, T_max: 5, eta_min: 0.001}",
    "cyclic": "optimizer={name: SGD, momentum: 0.9} | "
    "scheduler={name: CyclicLR, base_lr: 0.001, max_lr: 0.1, step_size_up: 3}",
    "both, no scheduler": "accumulate=2 | clip=0.5 | scheduler=none",
    "deterministic": "deterministic=true | model=small_resnet",
    "fp16": "precision=fp16",
    "one of torchvision's": "augment={name: RandomResizedCrop, size: 16}",
    "torchvision's with a size": "augment=[RandomResizedCrop, {name: Resize}]",
    "none": "augment=none | workers=1",
    "own functions": "model=model:Net | loss={name: 'model:hinge', margin: 0.5} | scheduler=none",
    "held out": "data=flat | holdout=0.4 | on_error=skip",
    "mobilenet": "model=mobilenet_v3_small",
    "a table, held out": "data=listed.csv | holdout=0.4 | on_error=skip | table.image=file | table.label=kind | "
    "table.split_column=null | table.root=data | table.outside=true",
    "a table with the usual columns": "data=listed.jsonl | table.outside=true",  # the pictures are links
}  # fmt: skip


KILLED = {  # in which steps of the optimizer
    "swa": (2, 7), "swa, growing": (7, 9), "swa, modes": (8,), "modes": (2, 3), "closure": (3, 8), "lbfgs, teacher": (3, 8),
    "warm-up, plateau": (4, 12), "frozen by a rule": (3, 8), "muon": (10, 22), "growing": (8, 14),
    "losses, phases": (4, 9),
}  # fmt: skip


def arguments_of(text: str) -> list[str]:
    return [argument.strip() for argument in text.split("|") if argument.strip()]


def settings_of(arguments: str) -> TrainSettings:
    return lw.load_config(None, arguments_of(arguments), schema=TrainSettings)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """A forked process cannot use its parent's threads, and their number is part of the bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory, photos: Path) -> Path:
    """A data set, the same one packed and without splits, weights to start from, and a module of the user's own."""
    root = tmp_path_factory.mktemp("eject")
    small_copy(photos, root / "data", 2, 1)
    (root / "flat").symlink_to(root / "data" / "train")
    lw.pack_folder(root / "data", root / "packed", size=24, progress=False)
    list_pictures(root)
    torch.manual_seed(5)
    torch.save(lw.small_resnet(num_classes=10).state_dict(), root / "start.pt")
    (root / "model.py").write_text(OWN)
    return root


def list_pictures(root: Path) -> None:
    """The same pictures in tables."""
    found = [(path, path.parent.name, path.parent.parent.name) for path in sorted((root / "data").rglob("*.jpg"))]
    lw.write_table([{"path": path.relative_to(root), "label": kind, "split": part} for path, kind, part in found],
                   root / "listed.jsonl")  # fmt: skip
    rows = [
        {"file": path.relative_to(root / "data"), "kind": kind, "part": part, "w": 1 + number % 3}
        for number, (path, kind, part) in enumerate(found)
    ]
    lw.write_table(rows, root / "listed.csv")


@pytest.fixture
def here(data: Path, monkeypatch) -> Path:
    monkeypatch.chdir(data)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    monkeypatch.syspath_prepend(data)
    return data


def program(source: str, path: Path) -> Callable[..., None]:
    """The ``main`` of a program."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def same_runs(one: Path, other: Path) -> None:
    """The same record, byte for byte, and the same states, bit for bit."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    ends = [lw.Checkpoints(folder / "checkpoints") for folder in (one, other)]
    assert same_bits(*(end.load("latest", only="model") for end in ends))
    assert same_bits(*(end.load("best", only="model") for end in ends))
    for average in ("ema", "swa"):
        if any(average in end.load("latest") for end in ends):
            assert same_bits(*(end.load("latest", only=average)["model"] for end in ends))
    states = [end.load("latest") for end in ends]
    assert str(states[0]["optimizer"]) == str(states[1]["optimizer"])
    assert str(states[0].get("scheduler")) == str(states[1].get("scheduler"))


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)])
def test_it_gives_the_same_bits(case: str, here: Path, tmp_path: Path, capsys) -> None:
    arguments = arguments_of(f"{FAST} | {(CASES | MORE)[case]}")
    assert cli.main(["train", *arguments, f"run={tmp_path / 'train'}"]) == 0
    capsys.readouterr()
    assert cli.main(["eject", *arguments, "run=ignored"]) == 0
    program(capsys.readouterr().out, tmp_path / "ejected.py")(str(tmp_path / "ejected"))
    same_runs(tmp_path / "train", tmp_path / "ejected")


@pytest.mark.parametrize(
    ("case", "dies_at"),
    [
        ("augment", 2),
        ("accumulate", 5),
        ("many parts", 8),
        ("teacher", 13),
        *(pytest.param(case, at, marks=pytest.mark.slow) for case, steps in KILLED.items() for at in steps),
    ],
)
def test_it_goes_on_after_a_kill(case: str, dies_at: int, here: Path, tmp_path: Path) -> None:
    arguments = f"{FAST} | batch_size=4 | {(CASES | MORE)[case]} | save_every=2 steps"
    assert cli.main(["train", *arguments_of(arguments), f"run={tmp_path / 'train'}"]) == 0
    main = program(eject(settings_of(arguments)), tmp_path / "ejected.py")
    child = forked(lambda: _killed(main, str(tmp_path / "ejected"), dies_at))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert lw.read_run(tmp_path / "ejected")["state"] != "finished"
    main(str(tmp_path / "ejected"))
    same_runs(tmp_path / "train", tmp_path / "ejected")


@pytest.mark.parametrize(
    "case",
    [
        "many parts",
        *(
            pytest.param(case, marks=pytest.mark.slow)
            for case in ("modes", "teacher", "swa, growing", "losses, phases")
        ),
    ],
)
def test_it_goes_on_after_it_was_stopped_in_its_validation(case: str, here: Path, tmp_path: Path, monkeypatch) -> None:
    arguments = f"{FAST} | {(CASES | MORE)[case]}"
    assert cli.main(["train", *arguments_of(arguments), f"run={tmp_path / 'train'}"]) == 0
    main = program(eject(settings_of(arguments)), tmp_path / "ejected.py")
    measure, measured = lw.topk_accuracy, []

    def stopping(*given: Any) -> Any:
        measured.append(1)
        if len(measured) == 2:  # in the second epoch
            signal.raise_signal(signal.SIGTERM)
        return measure(*given)

    monkeypatch.setattr(lw, "topk_accuracy", stopping)
    with pytest.raises(SystemExit):
        main(str(tmp_path / "ejected"))
    main(str(tmp_path / "ejected"))
    same_runs(tmp_path / "train", tmp_path / "ejected")


def _killed(main: Callable[..., None], folder: str, after: int) -> None:
    """Killed in a step of the optimizer."""
    taken: list[int] = []

    def counted(*_: Any) -> None:
        taken.append(1)
        if len(taken) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_pre_hook(counted)  # in a process of its own
    main(folder)


def test_the_record_says_what_it_came_from(here: Path, tmp_path: Path) -> None:
    settings = settings_of(f"{FAST} | epochs=1 | {CASES['augment']}")
    program(eject(settings), tmp_path / "ejected.py")(str(tmp_path / "ejected"))
    config = lw.load_config(tmp_path / "ejected" / "config.yaml")
    assert lw.load_config(config["ejected_from"], schema=TrainSettings) == settings


# ---- how it reads ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(data: Path, tmp_path_factory) -> Path:
    """The program of each case, in the folder of the user's own modules."""
    before = Path.cwd()
    os.chdir(data)
    sys.path.insert(0, str(data))
    try:
        for number, case in enumerate((CASES | MORE).values()):
            Path(f"case_{number}.py").write_text(eject(settings_of(f"{FAST} | {case}")))
    finally:
        os.chdir(before)
        sys.path.remove(str(data))
    return data


@pytest.mark.parametrize(
    "command",
    [
        "check --isolated",
        "check --isolated --select E,F,W,I,B,UP,SIM,RUF,C4,PIE,PT,RET --line-length 120",
        *(f"format --check --isolated --line-length {width}" for width in (88, 100, 120)),
    ],
)  # fmt: skip
def test_ruff_finds_nothing(command: str, programs: Path) -> None:
    files = [path.name for path in programs.glob("case_*.py")]
    done = subprocess.run([RUFF, *command.split(), *files], cwd=programs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_short_and_of_public_names_only(programs: Path) -> None:
    for path in programs.glob("case_*.py"):
        source = path.read_text()
        tree = ast.parse(source)
        assert source.count("\n") <= 120
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", None) == "lw"}
        assert used <= set(lw.__all__)
        modules = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        roots = {name.partition(".")[0] for name in modules}
        assert roots <= {"sys", "functools", "contextlib", "torch", "torchvision", "timm", "loopwright", "model"}
        assert not any(part.startswith("_") for name in modules for part in name.split("."))


def test_only_what_is_used_is_there() -> None:
    source = eject(settings_of("data=photos | scheduler=none | precision=fp32 | augment=none"))
    for word in (
        "autocast",
        "scheduler.",
        "criterion",
        "clip",
        "accumulate",
        "workers",
        "stop_when",
        "augment ",
        "transforms",
    ):
        assert word not in source, word


def test_every_classifier_of_torchvision_can_be_imported_by_its_name() -> None:
    from torchvision import models

    assert all(callable(getattr(models, name)) for name in models.list_models(module=models))


def test_pretrained_weights_get_a_new_last_layer() -> None:
    source = eject(settings_of("data=photos | model={name: resnet18, weights: DEFAULT}"))
    assert "lw.build_model(\n" in source or 'lw.build_model("resnet18"' in source


def test_the_demo(capsys) -> None:
    assert cli.main(["eject", "--demo", "epochs=3"]) == 0
    source = capsys.readouterr().out
    assert 'lw.open_data(lw.demo_photos(), "train")' in source and "run.epochs(3)" in source


# ---- rules -------------------------------------------------------------------------------------------------------------

OTHER = {
    "data": "data=other", "run": "run=runs/mine", "model": "model=resnet34", "image_size": "image_size=64",
    "epochs": "epochs=3", "batch_size": "batch_size=3", "workers": "workers=3", "seed": "seed=3", "device": "device=cpu",
    "precision": "precision=bf16", "save_every": "save_every=9 steps", "optimizer": "optimizer.lr=0.5",
    "scheduler": "scheduler={name: OneCycleLR, pct_start: 0.2}", "loss": "loss=nll_loss", "augment": "augment=RandomCrop",
    "weights": "weights=a.pt", "accumulate": "accumulate=2", "clip": "clip=1", "drop_last": "drop_last=true",
    "holdout": "holdout=0.3", "patience": "patience=3", "pictures": "pictures=4", "trackers": "trackers=[tensorboard]",
    "on_error": "on_error=skip", "deterministic": "deterministic=true",
    "mix": "mix=Mixup", "ema": "ema=0.9", "swa": "swa=1", "tta": "tta=true", "distill": "distill={weights: teacher}",
    "freeze": "freeze=fc", "unfreeze": "unfreeze={epoch 0: fc}", "nonfinite": "nonfinite=skip",
    "parallel": "parallel=fsdp", "table": "table.label=kind",
}  # fmt: skip


def body(source: str) -> str:
    """Without the settings that it came from."""
    return source.partition("def main")[2]


BELOW = {
    "image_size": "image_size={epoch 0: 64, epoch 9: 96}", "loss": "loss=[cross_entropy]", "loss.weight": "loss.weight=2",
    "optimizer.rules": "optimizer.rules={fc: {lr: 1}}", "optimizer.layer_decay": "optimizer.layer_decay=0.5",
    "scheduler.warmup": "scheduler={name: StepLR, step_size: 2, warmup: 1 epochs}",
    "scheduler.per": "scheduler={name: StepLR, step_size: 2, per: step}",
}  # fmt: skip


@pytest.mark.parametrize("key", BELOW)
def test_what_stands_below_a_key_does_something_too(key: str) -> None:
    plain = body(eject(settings_of("data=photos | scheduler={name: StepLR, step_size: 2}")))
    assert body(eject(settings_of(f"data=photos | scheduler={{name: StepLR, step_size: 2}} | {BELOW[key]}"))) != plain


@pytest.mark.parametrize("setting", ["clip=1", "accumulate=2", "precision=fp16"])
def test_what_lbfgs_cannot_do_is_said_by_eject_too(setting: str) -> None:
    with pytest.raises(lw.ConfigError, match="accumulate, clip and fp16 are not for it"):
        eject(settings_of(f"data=photos | optimizer=LBFGS | {setting}"))


@pytest.mark.parametrize("field", [field for field in TrainSettings.model_fields if field != "task"])
def test_every_setting_has_a_rule_that_does_something(field: str) -> None:
    assert field in SETTINGS and field in OTHER, (
        f"write what {field} stands for in recipes/_eject.py, and a value of it here"
    )
    data = "data=t.csv" if field == "table" else "data=photos"
    assert body(eject(settings_of(f"{data} | {OTHER[field]}"))) != body(eject(settings_of(data)))


def test_a_setting_without_a_rule_is_refused_by_its_name() -> None:
    class More(TrainSettings):
        another: float | None = None

    assert eject(More(data="photos"))
    assert eject(More(data="photos", another=None))
    with pytest.raises(lw.ConfigError, match="another: eject cannot write this setting"):
        eject(More(data="photos", another=0.99))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nonfinite=skp", "should be one of 'stop', 'skip', 'lower_scale' or 'log', is 'skp': did you mean 'skip'"),
        ("nonfnite=skip", "unknown key 'nonfnite': did you mean 'nonfinite'"),
        ("nonfinite=lower_scale", "nonfinite='lower_scale' is for precision='fp16'"),
    ],
)  # fmt: skip
def test_mistakes_in_what_is_to_be_done_with_nan(setting: str, message: str) -> None:
    with pytest.raises(lw.ConfigError, match=message):
        settings_of(f"data=photos | {setting}")


def test_a_length_that_a_scheduler_cannot_know_is_said_by_eject_too(capsys) -> None:
    assert cli.main(["eject", "data=photos", "epochs=2 hours"]) == 2
    assert "must know how many steps there will be" in capsys.readouterr().err


def test_values_that_would_end_a_text_do_no_harm(here: Path) -> None:
    nasty = 'a"b\'c\\n\n"""'
    tree = ast.parse(eject(TrainSettings(data=nasty, run=nasty)))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert texts.count(nasty) >= 4


def test_the_page_shows_a_real_one(tmp_path: Path, monkeypatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "eject.md").read_text()
    yaml, source = (page.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("yaml", "python"))
    monkeypatch.chdir(tmp_path)
    Path("photos.yaml").write_text(yaml)
    assert eject(lw.load_config("photos.yaml", schema=TrainSettings)) == source

"""``eject``: the loop that a configuration stands for, as a program that its user owns. Builds and trains nothing.

Each function below writes the lines of one part of the configuration, with the values in them; what the configuration
does not use is not there. ``SETTINGS`` are those that have a rule here; any other one is refused where it is set.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .._code import Block, Line, Name, Statement, lay_out, needed
from .._demo import demo_photos
from .._errors import ConfigError
from ..data._augment import NO_AUGMENTATION, find_transform
from ..models._build import find_model
from ..optim._groups import param_groups
from ..optim._losses import find_loss
from ..optim._optimizers import build_optimizer, find_optimizer
from ..optim._schedulers import NO_SCHEDULER, build_scheduler, derived_arguments, find_scheduler, steps_per, total_steps
from ._settings import LossSettings, TrainSettings

SETTINGS = frozenset({
    "data", "run", "model", "image_size", "epochs", "batch_size", "workers", "seed", "device", "precision", "save_every",
    "optimizer", "scheduler", "loss", "augment", "weights", "accumulate", "clip", "drop_last", "holdout", "patience",
    "on_error", "deterministic",
})  # fmt: skip
# Those that have none yet: a program without them would train something else, so they are refused.
REFUSED = frozenset({"mix", "ema", "swa", "tta", "distill", "freeze", "unfreeze"})
BEST = "val/top1"

LW = Name("lw", "import loopwright as lw")
TORCH = Name("torch", "import torch")
TRAIN, VAL, MODEL, OPTIMIZER, LOADER = map(Name, ("train", "val", "model", "optimizer", "train_loader"))
IMAGES, LABELS, OUTPUT, SCHEDULER, GROUPS = map(Name, ("images", "labels", "output", "scheduler", "groups"))

# Modules of the user's that are called like something in the program are imported by another name.
TAKEN = frozenset({
    "sys", "torch", "nn", "F", "v2", "timm", "lw", "partial", "main", "folder", "train", "val", "run", "transforms",
    "augment", "crop", "train_loader", "val_loader", "model", "groups", "optimizer", "scheduler", "criterion", "images",
    "labels", "output", "loss", "best", "print", "len",
})  # fmt: skip


def eject(settings: TrainSettings) -> str:
    """The program that trains as ``loopwright train`` does with these settings, bit for bit.

    Raises:
        ConfigError: a setting that no plain loop can be written for, named.

    >>> print(eject(TrainSettings(data="photos", epochs=5)).splitlines()[0])
    \"""Train resnet18 on photos.
    """
    _check_rules(settings)
    program: list[Line] = [
        Statement("EJECTED_FROM = ", _given(settings)),
        "",
        "",
        Block(
            Statement("def main(", Name(f"folder: str = {_folder(settings)}"), ") -> None:"),
            [*_data(settings), "", Block(_run(settings), [*_pieces(settings), "", _epochs(settings)]), "", *_result()],
        ),
        "",
        "",
        Block('if __name__ == "__main__":', [Statement("main(*", Name("sys.argv[1:]", "import sys"), ")")]),
    ]
    return "\n".join([*_head(settings), "", *_imports(program), "", *lay_out(program), ""])


# ---- the head ---------------------------------------------------------------------------------------------------------


def _head(s: TrainSettings) -> list[str]:
    where = f" on {s.data}" if re.fullmatch(r"[\w./-]{1,40}", s.data, re.ASCII) else ""
    where = " on the embedded photos" if s.data == str(demo_photos()) else where
    return [
        f'"""Train {s.model.name}{where}.',
        "",
        "    python train.py [FOLDER]",
        "",
        "FOLDER is where the run is written. Interrupt it however you like and run it again: it",
        "goes on as if nothing had happened.",
        "",
        "Ejected by loopwright from the settings below: `loopwright train` with them gives the",
        "same weights, bit for bit. From here on it is yours.",
        '"""',
    ]


def _imports(program: Iterable[Line]) -> list[str]:
    """In the customary order: Python's, then others', then those of the current folder."""
    groups: dict[int, list[str]] = {}
    for line in sorted(needed(program), key=lambda line: (line.startswith("from"), line)):
        groups.setdefault(_rank(re.split(r"[ .]", line)[1]), []).append(line)
    return "\n\n".join("\n".join(groups[rank]) for rank in sorted(groups)).split("\n")


def _rank(package: str) -> int:
    """As isort tells what is whose: a project's own is what lies in its folder, or in its src."""
    if package in sys.stdlib_module_names:
        return 0
    own = (Path(place, name) for place in (".", "src") for name in (package, f"{package}.py"))
    return 2 if any(path.exists() for path in own) else 1


def _given(s: TrainSettings) -> dict[str, Any]:
    """What was set, the rest being defaults; a part with no arguments by its name alone."""
    given = s.model_dump(exclude_unset=True)
    return {
        key: [*map(_shortened, value)] if isinstance(value, list) else _shortened(value)
        for key, value in given.items()
        if value is not None
    }


def _shortened(part: Any) -> Any:
    return part["name"] if isinstance(part, dict) and part.keys() == {"name"} else part


def _folder(s: TrainSettings) -> str:
    if s.run is not None:
        return _text(s.run)
    name = re.sub("[/:]", "-", s.model.name)
    return _text(f"runs/{Path(s.data).resolve().name}-{name}-ejected")


# ---- what is trained --------------------------------------------------------------------------------------------------


def _data(s: TrainSettings) -> Iterator[Line]:
    options = _unless_default({"holdout": s.holdout, "on_error": s.on_error}, TrainSettings)
    where = LW.demo_photos() if s.data == str(demo_photos()) else s.data
    for split in ("train", "val"):
        yield Statement(f"{split} = ", LW.open_data(where, split, **options))


def _pieces(s: TrainSettings) -> Iterator[Line]:
    """Built in the order in which ``train`` builds them, since some draw random numbers."""
    yield from _loaders(s)
    yield from _model(s)
    yield from _optimizer(s)
    yield from _scheduler(s)
    yield from _criterion(s)
    scheduler = {} if _per(s) is None else {"scheduler": SCHEDULER}
    yield Statement("", Name("run.register")(model=MODEL, optimizer=OPTIMIZER, **scheduler))
    if ":" in s.model.name:
        yield Block("if not model.training:", ["model.train()"])


def _loaders(s: TrainSettings) -> Iterator[Line]:
    steps = [step for step in s.augment if not _is(step, NO_AUGMENTATION)]
    transforms = [_transform(step.name, step.arguments, s.last_size) for step in steps]
    shown, whole = (Name("augment"), LW.CenterCrop(s.last_size)) if steps else (Name("crop"), Name("crop"))
    if len(steps) > 1:
        yield Statement("transforms = ", transforms)
        transforms = [LW.Compose(Name("transforms"))]
    yield Statement(f"{shown.text} = ", transforms[0] if steps else LW.CenterCrop(s.last_size))
    workers = {} if s.workers is None else {"workers": s.workers}
    drop_last = {"drop_last": True} if s.drop_last else {}
    train = LW.Loader(TRAIN, s.batch_size, transform=shown, shuffle=True, **drop_last, **workers)
    yield Statement("train_loader = ", train)
    yield Statement("val_loader = ", LW.Loader(VAL, 4 * s.batch_size, transform=whole, **workers))


def _transform(name: str, arguments: dict[str, Any], size: int) -> Any:
    found = find_transform(name)
    takes_size = "size" in inspect.signature(found).parameters and "size" not in arguments
    if ":" not in name and found.__module__.startswith("torchvision."):
        function = Name(f"v2.{name}", "from torchvision.transforms import v2")
        return function(**({"size": size} if takes_size else {}), **arguments)
    function = _own(name) if ":" in name else getattr(LW, name)
    if takes_size and ":" in name:
        return function(size=size, **arguments)
    return function(*([size] if takes_size else []), **arguments)


def _model(s: TrainSettings) -> Iterator[Line]:
    classes = Name("len(train.classes)")
    made = _model_function(s)(num_classes=classes, **s.model.arguments)
    if ":" not in s.model.name and s.model.arguments.get("weights") is not None and _source(s) == "torchvision":
        made = LW.build_model(s.model.name, num_classes=classes, **s.model.arguments)  # with a new last layer
    yield Statement("model = ", Name("run.prepare")(made))
    if s.weights is not None:
        yield Statement("print(", LW.load_weights(MODEL, s.weights, strict=False), ")")


def _model_function(s: TrainSettings) -> Callable[..., Any]:
    name, source = s.model.name, _source(s)
    if ":" in name:
        return _own(name)
    if source == "torchvision":
        return Name(name.lower(), f"from torchvision.models import {name.lower()}")
    if source == "timm":
        create = Name("timm.create_model", "import timm")
        return lambda **named: create(name.removeprefix("timm/"), **named)
    return getattr(LW, name)


def _source(s: TrainSettings) -> str:
    return find_model(s.model.name)[1]


def _optimizer(s: TrainSettings) -> Iterator[Line]:
    name = s.optimizer.name
    yield Statement("groups = ", LW.param_groups(MODEL, weight_decay=s.optimizer.weight_decay))
    given = {"lr": s.optimizer.lr, **s.optimizer.arguments}
    if ":" in name:
        made = _own(name)(GROUPS, **given)
    elif (found := find_optimizer(name).__name__) in vars(torch.optim):
        made = getattr(TORCH.optim, found)(GROUPS, **given)
    else:
        made = LW.build_optimizer(name, GROUPS, **given)
    yield Statement("optimizer = ", made)


def _scheduler(s: TrainSettings) -> Iterator[Line]:
    if _per(s) is None:
        return
    name, given = s.scheduler.name, s.scheduler.arguments
    length, peak = derived_arguments(name)
    derived = {peak: s.optimizer.lr, length: _steps(s)}
    derived |= {"mode": "max"} if _per(s) == "plateau" and ":" not in name else {}
    filled_in = {key: value for key, value in derived.items() if key is not None and key not in given}
    if ":" in name:
        made = _own(name)(OPTIMIZER, **filled_in, **given)
    else:
        first = [filled_in.pop(peak)] if peak in filled_in else []  # as people write it
        made = _torchs_scheduler(find_scheduler(name).__name__)(OPTIMIZER, *first, **filled_in, **given)
    yield Statement("scheduler = ", made)


def _torchs_scheduler(name: str) -> Name:
    return Name(name, f"from torch.optim.lr_scheduler import {name}")


def _steps(s: TrainSettings) -> Any:
    if isinstance(s.epochs, int) and s.accumulate == 1:
        return Name(f"{s.epochs} * len(train_loader)")
    return LW.total_steps(LOADER, s.epochs, **({"accumulate": s.accumulate} if s.accumulate > 1 else {}))


def _criterion(s: TrainSettings) -> Iterator[Line]:
    """A loss that is an object, or a function with arguments, is made once; a function alone is called by its name."""
    function = _loss_function(s)
    if inspect.isclass(find_loss(_single(s).name)):
        yield Statement("criterion = ", function(**_single(s).arguments))
    elif _single(s).arguments:
        yield Statement(
            "criterion = ", Name("partial", "from functools import partial")(function, **_single(s).arguments)
        )


def _loss_function(s: TrainSettings) -> Name:
    name = _single(s).name
    if ":" in name:
        return _own(name)
    if inspect.isclass(find_loss(name)):
        return getattr(Name("nn", "from torch import nn"), name)
    return getattr(Name("F", "import torch.nn.functional as F"), name)


# ---- the run and its loop ---------------------------------------------------------------------------------------------


def _run(s: TrainSettings) -> Statement:
    keys = ("save_every", "device", "precision", "deterministic")
    options = _unless_default({key: getattr(s, key) for key in keys}, TrainSettings)
    config = {"ejected_from": Name("EJECTED_FROM")}
    return Statement("with ", LW.Run(Name("folder"), seed=s.seed, config=config, **options), " as run:")


def _epochs(s: TrainSettings) -> Block:
    body: list[Line] = [_training(s), _validation(s), Statement("", Name("run.keep_best")(BEST))]
    if s.patience is not None:
        body.append(Statement("", Name("run.stop_when")(BEST, patience=s.patience)))
    if _per(s) == "epoch":
        body.append("scheduler.step()")
    elif _per(s) == "plateau":
        body.append(Statement("scheduler.step(", Name("run.value")(BEST), ")"))
    return Block(Statement("for _ in ", Name("run.epochs")(s.epochs), ":"), body)


def _training(s: TrainSettings) -> Block:
    loss = Statement("loss = ", _loss(s)(Name("model(images)"), LABELS))
    return Block(
        "for images, labels in run.batches(train_loader):", [*_autocast(s, loss), *_step(s), "run.log(loss=loss)"]
    )


def _step(s: TrainSettings) -> Iterator[Line]:
    """``run.step``, as ``fit`` takes it: it knows fp16's scaler and short batches, and its norms are in the record."""
    options: dict[str, Any] = {"accumulate": s.accumulate} if s.accumulate > 1 else {}
    options |= {} if s.clip is None else {"clip": s.clip}
    options |= {"scheduler": SCHEDULER} if _per(s) == "step" else {}
    yield Statement("", Name("run.step")(Name("loss"), OPTIMIZER, **options))


def _validation(s: TrainSettings) -> Block:
    loss = Statement("loss = ", _loss(s)(OUTPUT, LABELS))
    log = Statement("", Name("run.log")(loss=Name("loss"), top1=LW.topk_accuracy(OUTPUT, LABELS)))
    computed = _autocast(s, "output = model(images)", loss, log)
    return Block("with run.evaluate(model):", [Block("for images, labels in run.batches(val_loader):", computed)])


def _autocast(s: TrainSettings, *lines: Line) -> list[Line]:
    """Within ``run.autocast()``, unless the configuration says that there is nothing to cast."""
    full = s.precision == "fp32" or (
        s.precision == "auto" and s.device != "auto" and torch.device(s.device).type != "cuda"
    )
    return [*lines] if full else [Block("with run.autocast():", lines)]


def _single(s: TrainSettings) -> LossSettings:
    """The loss; several are refused before it is asked for."""
    assert not isinstance(s.loss, list)
    return s.loss


def _loss(s: TrainSettings) -> Name:
    return Name("criterion") if [*_criterion(s)] else _loss_function(s)


def _result() -> Iterator[Line]:
    shown = "print(f\"best: {best.metrics['val/top1']:.1%} in checkpoint {best.name}\")"
    yield Block(Statement("if best := ", Name("run.checkpoints.best")(BEST), ":"), [shown])


# ---- rules ------------------------------------------------------------------------------------------------------------


def _per(s: TrainSettings) -> str | None:
    """When the scheduler is stepped: with each ``step``, each ``epoch``, on a ``plateau``; None without one.

    One is built for a toy model, since a function of the user's does not say beforehand what it gives.
    """
    if _is(s.scheduler, NO_SCHEDULER):
        return None
    groups = param_groups(nn.Linear(2, 2), weight_decay=s.optimizer.weight_decay)
    optimizer = build_optimizer(s.optimizer.name, groups, lr=s.optimizer.lr, **s.optimizer.arguments)
    steps = total_steps([None], s.epochs, accumulate=s.accumulate)
    made = build_scheduler(s.scheduler.name, optimizer, total_steps=steps, **s.scheduler.arguments)
    return "plateau" if isinstance(made, ReduceLROnPlateau) else steps_per(made)


def _check_rules(settings: TrainSettings) -> None:
    given = settings.model_fields_set - SETTINGS
    unknown = sorted(key for key in given if getattr(settings, key) != _default(type(settings), key))
    unknown += _unwritten(settings)
    if unknown:
        raise ConfigError(
            "\n".join(f"{key}: eject cannot write this setting as a loop: leave it out" for key in unknown)
        )


def _unwritten(s: TrainSettings) -> list[str]:
    """What has no rule below a key that has one."""
    optimizer = s.optimizer.name.lower()
    found = {
        "image_size": isinstance(s.image_size, dict),
        "loss": isinstance(s.loss, list),
        "loss.weight": not isinstance(s.loss, list) and (s.loss.weight != 1 or s.loss.log_as is not None),
        "optimizer.name": optimizer == "lbfgs" or optimizer.endswith("schedulefree"),
        "optimizer.rules": bool(s.optimizer.rules),
        "optimizer.layer_decay": s.optimizer.layer_decay is not None,
        "scheduler.warmup": bool(s.scheduler.warmup),
        "scheduler.per": s.scheduler.per is not None,
    }
    return [key for key, is_set in found.items() if is_set]


def _default(schema: type[TrainSettings], key: str) -> Any:
    return schema.model_fields[key].get_default(call_default_factory=True)


def _unless_default(values: dict[str, Any], schema: type[TrainSettings]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != _default(schema, key)}


def _is(part: Any, name: str) -> bool:
    return part.name.lower() == name


def _own(reference: str) -> Name:
    """The user's own object, by the name of its module."""
    module, _, attribute = reference.partition(":")
    if module.partition(".")[0] in TAKEN:
        alias = f"own_{module.replace('.', '_')}"
        return Name(f"{alias}.{attribute}", f"import {module} as {alias}")
    return Name(f"{module}.{attribute}", f"import {module}")


def _text(value: str) -> str:
    return lay_out([Statement("", value)])[0]

"""The lines of the ejected program that build: data, loaders, model, optimizer, scheduler, losses.

They stand in the order in which ``train`` builds these, since some draw random numbers.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .._by_epoch import read_epochs
from .._code import Block, Line, Name, Statement
from .._demo import demo_photos
from .._when import parse_span
from ..augment._by_name import find_mix
from ..data._augment import NO_AUGMENTATION, find_transform
from ..optim._losses import find_loss
from ..optim._optimizers import find_optimizer
from ..optim._schedule import Schedule
from ..optim._schedulers import derived_arguments, find_scheduler
from ._ejected_names import (
    LW,
    MODEL,
    OPTIMIZER,
    TORCH,
    classes,
    grows,
    is_named,
    is_own_module,
    is_weighted,
    losses_of,
    optimizer_has_modes,
    own,
    rates_differ,
    source_of,
    stepped_with,
    takes_closure,
    toy_scheduler,
    unless_default,
)
from ._settings import CommonSettings, LossSettings, ModelSettings, TrainSettings

TRAIN, VAL, GROUPS, RATES, CRITERION, LOSSES = map(Name, ("train", "val", "groups", "rates", "criterion", "losses"))


def data_lines(s: TrainSettings) -> Iterator[Line]:
    """The two parts of the data."""
    where = LW.demo_photos() if s.data == str(demo_photos()) else s.data
    for split in ("train", "val"):
        yield Statement(
            f"{split} = ", LW.open_data(where, split, **unless_default(s, "holdout", "on_error"), **s.options_of(split))
        )
    if classes(s).text == "classes":
        yield "classes = len(train.classes)"


def piece_lines(s: TrainSettings) -> Iterator[Line]:
    """All that the loop uses, and what of it must survive."""
    for part in (_loaders, _mix, _model, optimizer_lines, scheduler_lines, criterion_lines, _teacher, _parts):
        yield from part(s)
    scheduler = {} if stepped_with(s) is None else {"scheduler": Name("scheduler")}
    average = {name: Name(name) for name in ("ema", "swa") if getattr(s, name) is not None}
    yield Statement("", Name("run.register")(model=MODEL, optimizer=OPTIMIZER, **scheduler, **average))
    if optimizer_has_modes(s):
        yield "optimizer.train()"
    if ":" in s.model.name:
        yield Block("if not model.training:", ["model.train()"])


# ---- loaders ----------------------------------------------------------------------------------------------------------


def _loaders(s: TrainSettings) -> Iterator[Line]:
    if grows(s):
        yield from _growing(s)
        return
    steps = _steps(s)
    shown, whole = (Name("augment"), LW.CenterCrop(s.last_size)) if steps else (Name("crop"), Name("crop"))
    yield from _augment(s, shown, s.last_size)
    yield Statement("train_loader = ", _train_loader(s, shown))
    yield _val_loader(s, whole)


def _growing(s: TrainSettings) -> Iterator[Line]:
    """A loader for each size."""
    yield _val_loader(s, LW.CenterCrop(s.last_size))
    yield ""
    body = [*_augment(s, Name("augment"), Name("size")), Statement("return ", _train_loader(s, Name("augment")))]
    yield Block(Statement("", Name("def train_loader")(Name("size: int")), " -> lw.Loader:"), body)
    yield ""
    yield Statement("train_loaders = ", LW.ByEpoch(dict(s.sizes.items())), ".map(train_loader)")


def _steps(s: TrainSettings) -> list[Any]:
    return [step for step in s.augment if not is_named(step, NO_AUGMENTATION)]


def _augment(s: TrainSettings, shown: Name, size: Any) -> Iterator[Line]:
    transforms = [_transform(step.name, step.arguments, size) for step in _steps(s)] or [LW.CenterCrop(size)]
    if len(transforms) > 1:
        yield Statement("transforms = ", transforms)
        transforms = [LW.Compose(Name("transforms"))]
    yield Statement(f"{shown.text} = ", transforms[0])


def _train_loader(s: TrainSettings, transform: Any) -> Any:
    weighted = s.table is not None and s.table.weight is not None
    drawn = {"weights": Name("train.weights")} if weighted else {"shuffle": True}
    return LW.Loader(TRAIN, s.batch_size, transform=transform, **drawn, **unless_default(s, "drop_last", "workers"))


def _val_loader(s: TrainSettings, transform: Any) -> Line:
    return Statement(
        "val_loader = ", LW.Loader(VAL, 4 * s.batch_size, transform=transform, **unless_default(s, "workers"))
    )


def _transform(name: str, arguments: dict[str, Any], size: Any) -> Any:
    found = find_transform(name)
    takes_size = "size" in inspect.signature(found).parameters and "size" not in arguments
    if ":" not in name and found.__module__.startswith("torchvision."):
        function = Name(f"v2.{name}", "from torchvision.transforms import v2")
        return function(**({"size": size} if takes_size else {}), **arguments)
    function = own(name) if ":" in name else getattr(LW, name)
    if takes_size and ":" in name:
        return function(size=size, **arguments)
    return function(*([size] if takes_size else []), **arguments)


def _mix(s: TrainSettings) -> Iterator[Line]:
    mixes = [getattr(LW, find_mix(mix.name).__name__)(classes(s), **mix.arguments) for mix in s.mix]
    if mixes:
        yield Statement("mix = ", LW.BatchAugment(mixes if len(mixes) == 1 else [LW.OneOf(mixes)]))


# ---- models -----------------------------------------------------------------------------------------------------------


def _model(s: TrainSettings) -> Iterator[Line]:
    yield Statement("model = ", Name("run.prepare")(_made_model(s.model, classes(s))))
    if s.weights is not None:
        yield Statement("print(", LW.load_weights(MODEL, s.weights, strict=False), ")")
    if s.freeze:
        yield Statement("", LW.freeze(MODEL, *([s.freeze] if isinstance(s.freeze, str) else s.freeze)))


def _made_model(asked: ModelSettings, num_classes: Name) -> Any:
    source = source_of(asked.name)
    if source == "torchvision" and asked.arguments.get("weights") is not None:
        return LW.build_model(asked.name, num_classes=num_classes, **asked.arguments)  # with a new last layer
    return _model_function(asked.name, source)(num_classes=num_classes, **asked.arguments)


def _model_function(name: str, source: str) -> Callable[..., Any]:
    if ":" in name:
        return own(name)
    if source == "torchvision":
        return Name(name.lower(), f"from torchvision.models import {name.lower()}")
    if source == "timm":
        create = Name("timm.create_model", "import timm")
        return lambda **named: create(name.removeprefix("timm/"), **named)
    return getattr(LW, name)


def _teacher(s: TrainSettings) -> Iterator[Line]:
    if s.distill is None:
        return
    yield Statement("teacher = ", _made_model(s.distill.model, classes(s)))
    yield Statement("", LW.load_weights(Name("teacher"), s.distill.weights))
    yield "teacher.to(run.device).eval().requires_grad_(False)"


def _parts(s: TrainSettings) -> Iterator[Line]:
    """What follows the model along the training."""
    if s.unfreezing is not None:
        yield Statement("unfreezing = ", LW.Unfreezing(MODEL, s.unfreezing))
    if s.ema is not None:
        yield Statement("ema = ", LW.EMA(MODEL, s.ema.decay, **({} if s.ema.warmup else {"warmup": False})))
    if s.swa is not None:
        yield Statement("swa = ", LW.SWA(MODEL))
    if s.tta is not None:
        yield Statement("views = ", LW.TTA(MODEL, **s.tta.model_dump(exclude_defaults=True)))


# ---- optimizer and scheduler ------------------------------------------------------------------------------------------


def optimizer_lines(s: CommonSettings) -> Iterator[Line]:
    name, given = s.optimizer.name, {"lr": s.optimizer.lr, **s.optimizer.arguments}
    yield Statement("groups = ", LW.param_groups(MODEL, **_grouping(s)))
    found: Any = find_optimizer(name)
    if ":" in name:
        made = own(name)(GROUPS, **given)
    elif not takes_closure(s) and found in vars(torch.optim).values():
        made = getattr(TORCH.optim, found.__name__)(GROUPS, **given)
    else:
        made = LW.build_optimizer({"lbfgs": "LBFGS", "muon": "Muon"}.get(name.lower(), name), GROUPS, **given)
    yield Statement("optimizer = ", made)


def _grouping(s: CommonSettings) -> dict[str, Any]:
    asked = s.optimizer
    if takes_closure(s) and not asked.rules:
        return {}  # it knows no weight decay, nor rates
    rates = {"rules": asked.rules, "layer_decay": asked.layer_decay}
    rates = {key: value for key, value in rates.items() if value}
    return {"weight_decay": asked.weight_decay, **({"lr": asked.lr} if rates else {}), **rates}


def scheduler_lines(s: CommonSettings) -> Iterator[Line]:
    made = toy_scheduler(s)
    if made is None:
        return
    if isinstance(made, Schedule):
        yield Statement("scheduler = ", _schedule(s, made))
        return
    name, given = s.scheduler.name, s.scheduler.arguments
    filled_in = {key: value for key, value in _derived(s, made).items() if key not in given}
    if RATES in filled_in.values():
        yield 'rates = [group["lr"] for group in optimizer.param_groups]'
    if ":" in name:
        yield Statement("scheduler = ", own(name)(OPTIMIZER, **filled_in, **given))
    else:
        first = [filled_in.pop("max_lr")] if "max_lr" in filled_in else []  # as people write it
        found = find_scheduler(name).__name__
        function = Name(found, f"from torch.optim.lr_scheduler import {found}")
        yield Statement("scheduler = ", function(OPTIMIZER, *first, **filled_in, **given))


def _derived(s: CommonSettings, made: Any) -> dict[str, Any]:
    """The arguments that follow from the training."""
    found = find_scheduler(s.scheduler.name).__name__
    length, peak = derived_arguments(s.scheduler.name)
    derived = {} if peak is None else {peak: RATES if rates_differ(s) else s.optimizer.lr}
    derived |= {} if length is None else {length: _length(s, "step")}
    if found in ("OneCycleLR", "CyclicLR") and not made.cycle_momentum:
        derived["cycle_momentum"] = False  # the optimizer has none
    return derived | ({"mode": "max"} if found == "ReduceLROnPlateau" else {})


def _schedule(s: CommonSettings, made: Schedule) -> Any:
    """With a warm-up, or stepped as is not customary."""
    name, asked = s.scheduler.name, s.scheduler
    warmup = {"warmup": asked.warmup} if asked.warmup else {}
    in_epochs = isinstance(asked.warmup, str) and parse_span(asked.warmup).unit == "epochs"
    needed = ("step", "epoch") if made.per == "step" and in_epochs else (made.per,)
    lengths = {f"total_{per}s": _length(s, per) for per in needed} if made.total_steps is not None else {}
    direction = {"direction": "max"} if stepped_with(s) == "plateau" else {}
    return LW.build_scheduler(
        name if ":" in name else find_scheduler(name).__name__,
        OPTIMIZER,
        **lengths,
        **warmup,
        **({} if asked.per is None else {"per": asked.per}),
        **direction,
        **asked.arguments,
    )


def _length(s: CommonSettings, per: str) -> Any:
    """How many steps or epochs there will be."""
    if per == "epoch":
        asked = LW.total_steps(_all_loaders(s), s.epochs, per="epoch")
        return s.epochs if isinstance(s.epochs, int) else asked
    if isinstance(s.epochs, int) and s.accumulate == 1 and not grows(s):
        return Name(f"{s.epochs} * len(train_loader)")
    return LW.total_steps(_all_loaders(s), s.epochs, **unless_default(s, "accumulate"))


def _all_loaders(s: CommonSettings) -> Name:
    return Name("train_loaders" if grows(s) else "train_loader")


# ---- losses -----------------------------------------------------------------------------------------------------------


def criterion_lines(s: CommonSettings) -> Iterator[Line]:
    """What is no plain function is made once."""
    if (name := loss_name(s)) not in (LOSSES, CRITERION):
        return
    yield Statement(f"{name.text} = ", _losses(s) if name == LOSSES else made_loss(losses_of(s)[0]))
    if any(map(is_own_module, losses_of(s))):
        yield f"{name.text}.to(run.device)"


def loss_name(s: CommonSettings) -> Name:
    """What is called for the loss: ``losses``, ``criterion``, or the function by its name."""
    if is_weighted(s):
        return LOSSES
    made = made_loss(losses_of(s)[0])
    return made if isinstance(made, Name) else CRITERION


def _losses(s: CommonSettings) -> Any:
    phases = {
        phase: {loss.shown_name: _weighted(loss) for loss in losses_of(s) if loss.phase in ("both", phase)}
        for phase in ("train", "val")
    }
    shared = not any(is_own_module(loss) or loss.phase != "both" for loss in losses_of(s))
    return LW.Losses(phases["train"], **({} if shared else {"evaluation": phases["val"]}))


def _weighted(loss: LossSettings) -> Any:
    weight = read_epochs(loss.weight) if isinstance(loss.weight, dict) else loss.weight
    return made_loss(loss) if weight == 1 else (made_loss(loss), weight)


def made_loss(loss: LossSettings) -> Any:
    function = _loss_function(loss.name)
    if inspect.isclass(find_loss(loss.name)):
        return function(**loss.arguments)
    return Name("partial", "from functools import partial")(function, **loss.arguments) if loss.arguments else function


def _loss_function(name: str) -> Name:
    found = find_loss(name)
    if ":" in name:
        return own(name)
    if getattr(found, "__module__", "").startswith("loopwright."):
        return getattr(LW, found.__name__)
    if inspect.isclass(found):
        return getattr(Name("nn", "from torch import nn"), name)
    short = {"l1": "l1_loss", "l2": "mse_loss"}.get(name, name)
    return getattr(Name("F", "import torch.nn.functional as F"), short)

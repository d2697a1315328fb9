"""The names in the program of ``eject``, and what must be tried out to be known. Writes no lines."""

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .._code import Name
from ..models._build import find_model
from ..optim._evaluation_weights import has_modes
from ..optim._groups import param_groups
from ..optim._losses import find_loss
from ..optim._optimizers import build_optimizer, find_optimizer
from ..optim._schedulers import build_scheduler, steps_per, takes_metric, total_steps
from ._picture_settings import PictureSettings
from ._settings import CommonSettings, LossSettings, TrainSettings

LW = Name("lw", "import loopwright as lw")
TORCH = Name("torch", "import torch")
IMAGES, LABELS, OUTPUT, LOSS, OPTIMIZER, MODEL = map(Name, ("images", "labels", "output", "loss", "optimizer", "model"))

# Modules of the user's that are called like something in the program are imported by another name.
TAKEN = frozenset({
    "sys", "torch", "nn", "F", "v2", "timm", "lw", "partial", "nullcontext", "Tensor", "main", "folder", "train", "val",
    "run", "classes", "transforms", "augment", "crop", "size", "train_loader", "train_loaders", "val_loader", "mix",
    "model", "groups", "optimizer", "rates", "scheduler", "criterion", "losses", "teacher", "unfreezing", "ema", "swa",
    "averaged", "views", "epoch", "images", "labels", "closure", "measured", "output", "task", "distillation", "loss",
    "best", "print", "len", "list", "roles", "samples", "normalize", "batch", "target", "parts", "pixels", "range",
})  # fmt: skip
LONG = {"total_steps": 10**9, "total_epochs": 10**6}  # of a training whose loader is not there: no warm-up is longer


def own(reference: str) -> Name:
    """The user's own object, by the name of its module."""
    module, _, attribute = reference.partition(":")
    if module.partition(".")[0] in TAKEN:
        alias = f"own_{module.replace('.', '_')}"
        return Name(f"{alias}.{attribute}", f"import {module} as {alias}")
    return Name(f"{module}.{attribute}", f"import {module}")


def is_named(part: Any, name: str) -> bool:
    """Whether a part of the configuration is the one of a name, in any case."""
    return part.name.lower() == name


def source_of(model: str) -> str:
    """Whose a model is."""
    return find_model(model)[1]


def default(schema: type[CommonSettings], key: str) -> Any:
    """What a setting is where nothing is said."""
    return schema.model_fields[key].get_default(call_default_factory=True)


def unless_default(s: CommonSettings, *keys: str) -> dict[str, Any]:
    """The settings of these names that are not as they are by default."""
    values = {key: getattr(s, key) for key in keys}
    return {key: value for key, value in values.items() if value != default(TrainSettings, key)}


# ---- what the program calls its parts ---------------------------------------------------------------------------------


def grows(s: CommonSettings) -> bool:
    """Whether the training pictures have several sizes, and so several loaders."""
    return isinstance(s, TrainSettings) and len([*s.sizes.items()]) > 1


def train_loader(s: CommonSettings) -> Name:
    """The training loader of an epoch."""
    return Name("train_loaders(epoch)" if grows(s) else "train_loader")


def judged(s: CommonSettings) -> Name:
    """What validation measures."""
    if isinstance(s, PictureSettings):
        return MODEL if s.tile is None else Name("parts")
    return Name("views") if isinstance(s, TrainSettings) and s.tta is not None else MODEL


def classes(s: TrainSettings) -> Name:
    """How many there are: by a name of their own where they are asked for more than once."""
    return Name("classes" if s.mix or s.distill is not None else "len(train.classes)")


# ---- losses -----------------------------------------------------------------------------------------------------------


def losses_of(s: CommonSettings) -> list[LossSettings]:
    """All losses."""
    return s.loss if isinstance(s.loss, list) else [s.loss]


def is_weighted(s: CommonSettings) -> bool:
    """Whether the loss is a sum of several with their names, or at least has a weight or a name of its own."""
    return isinstance(s.loss, list) or s.loss.weight != 1 or s.loss.log_as is not None


def weights_change(s: CommonSettings) -> bool:
    """Whether the weights of the losses change along the training."""
    return is_weighted(s) and any(isinstance(loss.weight, dict) and len(loss.weight) > 1 for loss in losses_of(s))


def is_own_module(loss: LossSettings) -> bool:
    """Whether a loss is a module of the user's, which may have tensors and modes."""
    found = find_loss(loss.name)
    return ":" in loss.name and inspect.isclass(found) and issubclass(found, nn.Module)


# ---- optimizer and scheduler ------------------------------------------------------------------------------------------


def takes_closure(s: CommonSettings) -> bool:
    """Whether the optimizer measures the loss itself."""
    return find_optimizer(s.optimizer.name) is torch.optim.LBFGS


def toy_optimizer(s: CommonSettings) -> Optimizer:
    """The optimizer for a toy model, since a function of the user's does not say beforehand what it gives."""
    toy = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    groups = param_groups(toy, weight_decay=s.optimizer.weight_decay)
    return build_optimizer(s.optimizer.name, groups, lr=s.optimizer.lr, **s.optimizer.arguments)


def toy_scheduler(s: CommonSettings) -> Any:
    """The scheduler of the toy's optimizer; None without one."""
    lengths = {} if total_steps([None], s.epochs) is None else LONG
    return build_scheduler(
        s.scheduler.name, toy_optimizer(s), warmup=s.scheduler.warmup, per=s.scheduler.per, direction="max",
        **lengths, **s.scheduler.arguments,
    )  # fmt: skip


def stepped_with(s: CommonSettings) -> str | None:
    """When the scheduler is stepped: with each ``step``, each ``epoch``, on a ``plateau``; None without one."""
    made = toy_scheduler(s)
    if made is None:
        return None
    return "plateau" if steps_per(made) == "epoch" and takes_metric(made) else steps_per(made)


def optimizer_has_modes(s: CommonSettings) -> bool:
    """Whether the optimizer trains at one place and wants another one measured, as Schedule-Free."""
    return has_modes(toy_optimizer(s))


def rates_differ(s: CommonSettings) -> bool:
    """Whether parameters have learning rates of their own."""
    rates = {group["lr"] for group in toy_optimizer(s).param_groups}
    return bool(s.optimizer.rules) or s.optimizer.layer_decay is not None or rates != {s.optimizer.lr}

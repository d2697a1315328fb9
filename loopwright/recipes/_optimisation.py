"""What the recipes share: from settings to the loss, the optimizer and the scheduler. Public names only; knows no tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .._by_epoch import ByEpoch
from .._errors import ConfigError
from .._resume import free_folder
from .._weights import load_weights
from ..data._loader import Loader
from ..optim._freeze import Unfreezing, freeze
from ..optim._groups import param_groups
from ..optim._losses import build_loss
from ..optim._optimizers import build_optimizer
from ..optim._schedulers import build_scheduler, total_steps
from ..optim._several_losses import Losses
from ._settings import CommonSettings, LossSettings

Loss = Callable[..., Tensor]


def start_model(s: CommonSettings, model: nn.Module) -> None:
    """Weights to start from, and what is not trained."""
    if s.weights is not None:
        _start_from(model, s.weights)
    if s.freeze:
        freeze(model, *([s.freeze] if isinstance(s.freeze, str) else s.freeze))
    if s.unfreezing is not None:
        Unfreezing(model, s.unfreezing)  # a pattern without a match is said now


def make_optimizer(s: CommonSettings, model: nn.Module) -> Optimizer:
    """The optimizer with its groups."""
    rates = s.optimizer.rules or s.optimizer.layer_decay is not None
    groups = param_groups(
        model,
        weight_decay=s.optimizer.weight_decay,
        lr=s.optimizer.lr if rates else None,
        rules=s.optimizer.rules,
        layer_decay=s.optimizer.layer_decay,
    )
    return build_optimizer(s.optimizer.name, groups, lr=s.optimizer.lr, **s.optimizer.arguments)


def make_scheduler(
    s: CommonSettings, optimizer: Optimizer, loaders: Loader | ByEpoch[Loader], direction: Literal["min", "max"] = "max"
) -> Any:
    """The scheduler, as long as the training; ``direction``: whether more or less of what is watched is better."""
    lengths = {
        f"total_{per}s": total_steps(loaders, s.epochs, accumulate=s.accumulate, per=per) for per in ("step", "epoch")
    }
    return build_scheduler(
        s.scheduler.name, optimizer, warmup=s.scheduler.warmup, per=s.scheduler.per, direction=direction,
        **lengths, **s.scheduler.arguments,
    )  # fmt: skip


def make_loss(
    asked: LossSettings | Sequence[LossSettings], wrap: Callable[[LossSettings, Loss], Loss] = lambda _, loss: loss
) -> Loss:
    """The one loss as it is, or several with their weights; ``wrap`` is given each."""

    def made(loss: LossSettings) -> Loss:
        return wrap(loss, build_loss(loss.name, **loss.arguments))

    if isinstance(asked, LossSettings) and asked.weight == 1 and asked.log_as is None:
        return made(asked)
    listed = [asked] if isinstance(asked, LossSettings) else asked
    phases = {
        phase: {loss.shown_name: (made(loss), loss.course) for loss in listed if loss.phase in ("both", phase)}
        for phase in ("train", "val")
    }
    losses = Losses(phases["train"], evaluation=phases["val"])
    losses.at(epoch=0)
    return losses


def fit_options(s: CommonSettings) -> dict[str, Any]:
    """The options of ``fit`` that every task has."""
    return {
        "epochs": s.epochs,
        "unfreeze": s.unfreezing,
        "accumulate": s.accumulate,
        "clip": s.clip,
        "ema": None if s.ema is None else s.ema.model_dump(),
        "swa": s.swa,
        "patience": s.patience,
        "pictures": s.pictures,
        "run": run_folder(s),
        "seed": s.seed,
        "config": s,
        "save_every": s.save_every,
        "device": s.device,
        "precision": s.precision,
        "deterministic": s.deterministic,
        "nonfinite": s.nonfinite,
        "parallel": s.parallel,
        "trackers": [tracker.asked for tracker in s.trackers],
    }


def run_folder(s: CommonSettings) -> Path:
    """The folder of the settings, else the first free one of runs/DATA-MODEL, runs/DATA-MODEL-2, ..."""
    if s.run is not None:
        return Path(s.run)
    return free_folder(
        Path("runs") / f"{s.data_name}-{s.model.name.replace('/', '-').replace(':', '-')}", s.model_dump()
    )


def _start_from(model: nn.Module, weights: str) -> None:
    report = load_weights(model, weights, strict=False)
    print(f"weights    {weights}: {report}")
    if not report.loaded:
        raise ConfigError(f"weights: nothing in {weights} fits the {type(model).__name__}: {report}")

"""``fit``: the loop for those who want none. It is the loop of the tutorial, written with public names only."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ._checkpoints import Entry
from ._errors import ConfigError
from ._record import read_metrics
from ._resume import free_folder
from ._run import Run
from ._stopping import direction_of
from .data._loader import Loader
from .data._normalize import Normalize
from .optim._groups import param_groups
from .optim._optimizers import build_optimizer
from .optim._schedulers import build_scheduler, steps_per, total_steps

Metric = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Fitted:
    """What ``fit`` gives back."""

    model: nn.Module  # the weights of the last step; the best are in the run's folder
    folder: Path
    best: Entry | None
    history: list[dict[str, Any]] = field(repr=False)  # the lines of metrics.jsonl

    def last(self, metric: str) -> float:
        """The last value of a metric, such as ``"val/top1"``; NaN if it was never measured."""
        return next((line[metric] for line in reversed(self.history) if metric in line), math.nan)


def fit(
    model: nn.Module,
    train: Any,
    val: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | Callable[..., Optimizer] | str = "AdamW",
    epochs: int | str = 10,
    scheduler: Any = None,
    metrics: Mapping[str, Metric] | None = None,
    compute: Callable[[nn.Module, Any], Tensor | Mapping[str, Any]] | None = None,
    run: str | Path | None = None,
    batch_size: int = 64,
    transform: Callable[..., Any] | None = None,
    val_transform: Callable[..., Any] | None = None,
    workers: int | None = None,
    normalize: Normalize | Mapping[str, Normalize | None] | None = Normalize(),  # noqa: B008 - it never changes
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    accumulate: int = 1,
    clip: float | None = None,
    best: str | None = None,
    mode: Literal["min", "max"] | None = None,
    patience: int | None = None,
    **run_options: Any,
) -> Fitted:
    """Train a model: exact resume, checkpoints, record and progress included.

    Args:
        model: is moved to the device and trained in place.
        train, val: a dataset, that is anything with ``len`` and ``[index]``, a list too (a ``Loader`` is made of it); or a
            ``Loader``, a ``DataLoader`` or any other iterable of batches.
        loss: ``loss(model(*inputs), target)`` for a batch that is a tuple ending in its target, ``loss(model(batch),
            batch)`` for a single tensor. None: the model returns its own loss, from ``model(**batch)`` for a
            dictionary, ``model(*batch)`` for a tuple, ``model(batch)`` for a tensor; as a tensor, as ``["loss"]``,
            ``.loss``, or the first of several.
        optimizer: one that holds the model's parameters, a function of parameter groups (``torch.optim.AdamW``), or a
            name, for which ``lr`` and ``weight_decay`` are used.
        epochs: a number, or a length such as ``"500 steps"``.
        scheduler: one that holds the optimizer, a function of the optimizer, or a name such as ``"OneCycleLR"``, whose
            length is that of the training. It is stepped with each batch or each epoch, as is customary for it.
        metrics: names to functions ``metric(output, target)``, for validation.
        compute: instead of loss and metrics: from (model, batch) to a loss, or to values by name with ``"loss"``.
        run: the folder. Default: the first free one of runs/fit, runs/fit-2, ...
        batch_size, transform, val_transform, workers, normalize: of the loaders that are made of datasets.
        lr, weight_decay: for an optimizer that is given as a name.
        accumulate, clip: batches a step, and the largest norm of the gradient; see ``Run.step``.
        best: the metric whose best checkpoint is kept. Default: the first of ``metrics``, else the validation loss.
        mode: whether more or less of ``best`` is better. Default: by the customary names.
        patience: stop when ``best`` got no better for so many epochs.
        run_options: of ``Run``: seed, config, save_every, device, precision, resume, progress, ...

    >>> import tempfile, torch
    >>> data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(20)]
    >>> fitted = fit(nn.Linear(4, 2), data, data, loss=nn.functional.cross_entropy, epochs=2, workers=0,
    ...              run=tempfile.mkdtemp(), progress=False)
    >>> len([line for line in fitted.history if "val/loss" in line])
    2
    """
    evaluate = compute or _Computation(loss, metrics or {})
    best = best or f"val/{next(iter(metrics), 'loss') if metrics else 'loss'}"
    if val is not None:
        direction_of(best, mode)  # an unknown one is said now, not after the first epoch
    if transform is not None and val_transform is None and _holds_samples(val):
        raise ConfigError(
            "transform= is for training pictures; say what validation uses: val_transform=lw.CenterCrop(128)"
        )
    train_loader = _as_loader(train, batch_size, transform, workers, normalize, shuffle=True)
    val_loader = None if val is None else _as_loader(val, 4 * batch_size, val_transform, workers, normalize)
    folder = Path(run) if run is not None else free_folder("runs/fit")
    with Run(folder, **run_options) as live:
        model = live.prepare(model)
        optimizer = _as_optimizer(optimizer, model, lr, weight_decay)
        scheduler = _as_scheduler(scheduler, optimizer, train_loader, epochs, accumulate)
        live.register(model=model, optimizer=optimizer, **({} if scheduler is None else {"scheduler": scheduler}))
        per_step = scheduler if scheduler is not None and steps_per(scheduler) == "step" else None

        model.train()
        for _ in live.epochs(epochs):
            for batch in live.batches(train_loader):
                with live.autocast():
                    values = _values(evaluate(model, batch))
                live.step(values["loss"], optimizer, accumulate=accumulate, clip=clip, scheduler=per_step)
                live.log(loss=values["loss"])
            if val_loader is not None:
                with live.evaluate(model):
                    for batch in live.batches(val_loader):
                        with live.autocast():
                            live.log(_values(evaluate(model, batch)))
                live.keep_best(best, mode)
                if patience is not None:
                    live.stop_when(best, patience=patience, mode=mode)
            if scheduler is not None and per_step is None:
                _step_epoch(scheduler, live, best)
        kept = live.checkpoints.best(best)
    return Fitted(model, folder, kept, read_metrics(folder))


class _Computation:
    """From a model and a batch to a loss and metrics, for the customary kinds of batches."""

    def __init__(self, loss: Callable[..., Tensor] | None, metrics: Mapping[str, Metric]) -> None:
        self._loss, self._metrics = loss, metrics

    def __call__(self, model: nn.Module, batch: Any) -> Mapping[str, Any]:
        if self._loss is None:
            return {"loss": own_loss(model, batch)}
        inputs, target = _split(batch)
        output = model(*inputs)
        values = {"loss": self._loss(output, target)}
        if not model.training:
            values |= {name: metric(output, target) for name, metric in self._metrics.items()}
        return values


def own_loss(model: nn.Module, batch: Any) -> Tensor:
    """The loss of a model that computes its own."""
    if isinstance(batch, Mapping):
        result = model(**batch)
    elif isinstance(batch, list | tuple):
        result = model(*batch)
    else:
        result = model(batch)
    if isinstance(result, Tensor):
        return result
    if isinstance(result, Mapping):
        return result["loss"]
    return result.loss if hasattr(result, "loss") else result[0]


def _split(batch: Any) -> tuple[tuple[Any, ...], Any]:
    if isinstance(batch, Tensor):
        return (batch,), batch
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        return tuple(batch[:-1]), batch[-1]
    raise ConfigError(
        f"loss= needs batches that are tensors or tuples ending in their target; this one is a {type(batch).__name__}. "
        "Give compute=, a function from (model, batch) to the loss"
    )


def _values(result: Tensor | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(result, Tensor):
        return {"loss": result}
    if "loss" not in result:
        raise ConfigError(f"compute= gave {', '.join(map(repr, result))}; one of them must be 'loss'")
    return result


def _as_loader(
    data: Any,
    batch_size: int,
    transform: Callable[..., Any] | None,
    workers: int | None,
    normalize: Normalize | Mapping[str, Normalize | None] | None,
    *,
    shuffle: bool = False,
) -> Any:
    """A dataset becomes a loader; what yields batches already stays as it is."""
    if not _holds_samples(data):
        return data
    return Loader(data, batch_size, transform=transform, workers=workers, normalize=normalize, shuffle=shuffle)


def _holds_samples(data: Any) -> bool:
    """Whether something is a dataset, by what a dataset can do."""
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Loader)


def _as_optimizer(
    optimizer: Optimizer | Callable[..., Optimizer] | str, model: nn.Module, lr: float, weight_decay: float
) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return build_optimizer(optimizer, param_groups(model, weight_decay=weight_decay), lr=lr)
    return optimizer([p for p in model.parameters() if p.requires_grad])


def _as_scheduler(scheduler: Any, optimizer: Optimizer, loader: Any, epochs: int | str, accumulate: int) -> Any:
    if isinstance(scheduler, str):
        return build_scheduler(scheduler, optimizer, total_steps=total_steps(loader, epochs, accumulate=accumulate))
    if scheduler is None or hasattr(scheduler, "state_dict"):
        return scheduler
    return scheduler(optimizer)


def _step_epoch(scheduler: Any, live: Run, best: str) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(live.value(best))
    else:
        scheduler.step()

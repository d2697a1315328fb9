"""``fit``: the loop for those who want none. It is the loop of the tutorial, written with public names only."""

import contextlib
import copy
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._by_epoch import ByEpoch
from ._checkpoints import Checkpoints, Entry
from ._errors import ConfigError
from ._record import read_metrics
from ._resume import free_folder
from ._run import Run
from ._stopping import direction_of
from ._weights import load_weights
from .data._loader import Loader
from .data._normalize import Normalize
from .models._tiled_model import Tiled
from .models._tta import TTA
from .optim._average import EMA, SWA
from .optim._batch_norm import update_batch_norm
from .optim._evaluation_weights import evaluation_weights
from .optim._freeze import Unfreezing
from .optim._groups import param_groups
from .optim._optimizers import build_optimizer
from .optim._schedulers import build_scheduler, steps_per, takes_metric, total_steps
from .optim._several_losses import Losses


class Counting(Protocol):
    """A metric over all of a validation, such as ``Confusion``."""

    def update(self, output: Any, target: Any, /) -> Any: ...
    def compute(self) -> Any: ...
    def reset(self) -> Any: ...


Metric = Callable[[Any, Any], Tensor] | Counting


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
    inputs: str | Sequence[str] | None = None,
    targets: str | Sequence[str] | None = None,
    run: str | Path | None = None,
    batch_size: int = 64,
    transform: Callable[..., Any] | None = None,
    val_transform: Callable[..., Any] | None = None,
    workers: int | None = None,
    normalize: Normalize | Mapping[str, Callable[[Any], Any] | None] | None = Normalize(),  # noqa: B008 - it never changes
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    layer_decay: float | None = None,
    unfreeze: Mapping[int, str | Iterable[str]] | None = None,
    accumulate: int = 1,
    clip: float | None = None,
    augment: Callable[..., Any] | None = None,
    ema: float | Mapping[str, Any] | None = None,
    swa: int | None = None,
    tta: bool | Mapping[str, Any] = False,
    tile: int | Mapping[str, int] | None = None,
    best: str | None = None,
    mode: Literal["min", "max"] | None = None,
    patience: int | None = None,
    pictures: int = 16,
    **run_options: Any,
) -> Fitted:
    """Train a model: exact resume, checkpoints, record and progress included.

    Args:
        model: is moved to the device and trained in place (with ``parallel="fsdp"`` what comes back is another one); layers
            of it that are in evaluation mode stay so, unless all is.
        train, val: a dataset, that is anything with ``len`` and ``[index]``, a list too (a ``Loader`` is made of it); or a
            ``Loader``, a ``DataLoader`` or any other iterable of batches. ``train`` may be ``ByEpoch`` of such.
        loss: ``loss(model(*inputs), target)`` for a batch that is a tuple ending in its target, ``loss(model(batch),
            batch)`` for a single tensor; ``Losses`` for several. None: the model returns its own loss, from
            ``model(**batch)`` for a dictionary, ``model(*batch)`` for a tuple, ``model(batch)`` for a tensor; as a tensor,
            as ``["loss"]``, ``.loss``, or the first of several.
        optimizer: one that holds the model's parameters, a function of parameter groups (``torch.optim.AdamW``), or a
            name, for which ``lr``, ``weight_decay``, ``rules`` and ``layer_decay`` are used.
        epochs: a number, or a length such as ``"500 steps"``.
        scheduler: one that holds the optimizer, a function of the optimizer, a name such as ``"OneCycleLR"``, or a mapping
            with a name and arguments of ``build_scheduler``: ``{"name": "CosineAnnealingLR", "warmup": 0.05}``. Its length
            is that of the training. It is stepped with each batch or each epoch, as ``steps_per`` says; the plateau
            scheduler with the value of ``best``, without ``val`` with the training loss.
        metrics: names to functions ``metric(output, target)``, for validation: a mean, or one number a sample; or to
            objects that count over all of it, with ``update(output, target)``, ``compute`` and ``reset``, such as
            ``Confusion``, whose figures are named ``val/NAME/mean_iou`` and so on.
        inputs, targets: which parts of batches that are dictionaries, as those of ``PairedFolders``, the model is called
            with, in this order, and what it is compared with. Of several targets the model gives as many outputs, in this
            order or by their names; losses and metrics are given both by name: see ``OfTarget``.
        compute: instead of loss and metrics: from (model, batch) to a loss, or to values by name with ``"loss"``, which
            are all logged. ``Distillation`` is one.
        run: the folder. Default: the first free one of runs/fit, runs/fit-2, ...
        batch_size, transform, val_transform, workers, normalize: of the loaders that are made of datasets.
        lr, weight_decay, rules, layer_decay: of ``param_groups``, for an optimizer that is given as a name.
        unfreeze: from epochs to what is trained from then on; see ``Unfreezing``.
        accumulate, clip: batches a step, and the largest norm of the gradient; see ``Run.step``. Not for LBFGS, whose step
            measures the loss several times.
        augment: changes training batches (pictures, labels), or dictionaries, on the device, given ``seed`` and ``step``:
            ``BatchAugment``, with mixup and cutmix among its members, or ``BatchJoint``.
        ema: the decay of an average of the weights, or arguments of ``EMA``. Validation, and the model in the end, are of
            the average; checkpoints have it as ``ema`` beside the model.
        swa: the first epoch, counted from 0, whose end goes into the mean of the weights; see ``SWA``. As ``ema``, under the
            name ``swa``; batch norm is measured again on the training data.
        tta: validate with several views of each picture: True, or arguments of ``TTA``.
        tile: validate pictures larger than so many pixels in parts, for networks from pictures to pictures or masks; or
            arguments of ``Tiled``.
        best: the metric whose best checkpoint is kept. Default: the first of ``metrics``, else the validation loss.
        mode: whether more or less of ``best`` is better. Default: by the customary names.
        patience: stop when ``best`` got no better for so many epochs.
        pictures: at most so many validation pictures, with what the model made of them, go into the record after each epoch
            as ``val/samples``, where batches are (pictures, target) and the model's output is class scores, masks or
            pictures; 0 for none. Of several inputs and targets the first. See ``Run.log_images``. ``compute`` shows what
            it keeps as its ``output``.
        run_options: of ``Run``: seed, config, save_every, device, precision, resume, progress, ...

    >>> import tempfile, torch
    >>> data = [(torch.randn(4), torch.tensor(i % 2)) for i in range(20)]
    >>> fitted = fit(nn.Linear(4, 2), data, data, loss=nn.functional.cross_entropy, epochs=2, workers=0,
    ...              run=tempfile.mkdtemp(), progress=False)
    >>> len([line for line in fitted.history if "val/loss" in line])
    2
    """
    parts_of = Parts(_names("inputs", inputs), _names("targets", targets))
    evaluate = compute or _Computation(loss, metrics or {}, parts_of)
    if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 0:
        raise ConfigError(f"pictures= is the number of pictures on a sheet, or 0. Found: {pictures!r}")
    if tile is not None and tta:
        raise ConfigError("tile= and tta= exclude each other: several views are of pictures that have one class")
    best = best or f"val/{next(iter(metrics), 'loss') if metrics else 'loss'}"
    if val is not None:
        direction_of(best, mode)  # an unknown one is said now, not after the first epoch
    if transform is not None and val_transform is None and _holds_samples(val):
        raise ConfigError(
            "transform= is for training pictures; say what validation uses: val_transform=lw.CenterCrop(128)"
        )
    loaders = _as_loaders(train, batch_size, transform, workers, normalize)
    val_loader = None if val is None else _as_loader(val, 4 * batch_size, val_transform, workers, normalize)
    watched = best if val_loader is not None else "train/loss"
    folder = Path(run) if run is not None else free_folder("runs/fit")
    splits = run_options.get("parallel") == "fsdp"
    given = copy.deepcopy(model) if splits else model  # which in the end has all weights, not a rank's part of each
    with Run(folder, **run_options) as live:
        model = live.prepare(model)
        unfreezing = None if unfreeze is None else Unfreezing(model, unfreeze)
        groups = {"weight_decay": weight_decay, "rules": rules, "layer_decay": layer_decay}
        optimizer = _as_optimizer(optimizer, model, lr, groups)
        direction = direction_of(watched, mode if watched == best else None) if _is_plateau(scheduler) else None
        scheduler = _as_scheduler(scheduler, optimizer, loaders, epochs, accumulate, direction)
        average = _as_average(model, ema, swa)
        parts = {"scheduler": scheduler, ("swa" if isinstance(average, SWA) else "ema"): average}
        live.register(model=model, optimizer=optimizer, **{n: part for n, part in parts.items() if part is not None})
        modules = [part.to(live.device) for part in (loss, compute) if isinstance(part, nn.Module)]
        changing = [part for module in modules for part in module.modules() if isinstance(part, Losses)]
        judged = TTA(model, **({} if tta is True else tta)) if tta else _in_parts(model, tile)
        per_step = scheduler if scheduler is not None and steps_per(scheduler) == "step" else None
        step = _Step(live, optimizer, accumulate, clip, per_step, average if isinstance(average, EMA) else None)

        if not model.training:  # else layers that are in evaluation mode are meant to be, such as frozen batch norm
            model.train()
        for epoch in live.epochs(epochs):
            if unfreezing is not None:
                unfreezing(epoch)
            for batch in live.batches(loaders.begin(epoch)):
                for told in changing:
                    told.at(epoch=epoch, step=live.global_step)
                if augment is not None:
                    batch = _augmented(augment, batch, live)
                live.log(step(lambda batch=batch: _values(evaluate(model, batch))))
            if isinstance(average, SWA) and swa is not None and epoch >= swa:
                average.update()
            if val_loader is not None:
                for told in changing:  # a resumed run may have had no batch of this epoch before
                    told.at(epoch=epoch, step=live.global_step)
                with live.evaluate(judged, *modules), _measured_weights(average, optimizer):
                    if isinstance(average, SWA) and average.updates:
                        update_batch_norm(model, live.batches(loaders.of(epoch)), forward=parts_of.forward)
                        average.keep_buffers()
                    for batch in live.batches(val_loader):
                        with live.autocast():
                            live.log(_values(evaluate(judged, batch)))
                        if pictures:
                            _log_pictures(live, *parts_of.shown(batch, getattr(evaluate, "output", None)), pictures)
                live.keep_best(best, mode)
                if patience is not None:
                    live.stop_when(best, patience=patience, mode=mode)
            if scheduler is not None and per_step is None:
                scheduler.step(*([live.value(watched)] if takes_metric(scheduler) else []))
        kept = live.checkpoints.best(best)
    step.close()
    if splits:
        ended = Checkpoints(live.checkpoints.folder).find("latest").name
        shown = average is not None and average.updates
        name = next(name for name, part in parts.items() if part is average) if shown else "model"
        load_weights(given, live.checkpoints.folder / ended, name=name)
        given.to(live.device).train(model.training)
    elif average is not None and average.updates:
        average.copy_to(model)
    _switch(optimizer, "eval")
    return Fitted(given, live.folder, kept, read_metrics(live.folder))


class _Step:
    """Backward and step: with ``run.step``, or with a closure for LBFGS, which measures the loss as often as it likes."""

    def __init__(
        self, live: Run, optimizer: Optimizer, accumulate: int, clip: float | None, scheduler: Any, ema: EMA | None
    ) -> None:
        self._live, self._optimizer, self._scheduler = live, optimizer, scheduler
        self._accumulate, self._clip = accumulate, clip
        self._takes_closure = isinstance(optimizer, torch.optim.LBFGS)
        if self._takes_closure and (accumulate != 1 or clip is not None or live.compute.precision == "fp16"):
            raise ConfigError("LBFGS measures the loss several times a step: accumulate, clip and fp16 are not for it")
        _switch(optimizer, "train")
        # With the optimizer's own step, so that a short last group and a step that fp16 leaves out are right.
        self._hook = None if ema is None else optimizer.register_step_post_hook(lambda *_: ema.update())

    def __call__(self, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """One batch; what was measured of it, with LBFGS before the step."""
        if self._takes_closure:
            return self._with_closure(measure)
        with self._live.autocast():
            values = measure()
        self._live.step(
            values["loss"], self._optimizer, accumulate=self._accumulate, clip=self._clip, scheduler=self._scheduler
        )
        return values

    def _with_closure(self, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        first: dict[str, Any] = {}

        def closure() -> float:
            self._optimizer.zero_grad()
            with self._live.autocast():
                values = measure()
            values["loss"].backward()
            if not first:
                first.update(values)
            return float(values["loss"].detach())

        self._optimizer.step(closure)
        self._optimizer.zero_grad()
        if self._scheduler is not None:
            self._scheduler.step()
        return first

    def close(self) -> None:
        if self._hook is not None:
            self._hook.remove()


class _Loaders:
    """The training loader of each epoch. The workers of one that is over end when the next one begins."""

    def __init__(self, by_epoch: ByEpoch[Any]) -> None:
        self.by_epoch = by_epoch
        self._present: Any = None

    def of(self, epoch: int) -> Any:
        return self.by_epoch(epoch)

    def begin(self, epoch: int) -> Any:
        before, self._present = self._present, self.of(epoch)
        if before is not None and before is not self._present and hasattr(before, "close"):
            before.close()
        return self._present


class Parts:
    """What of a batch goes into the model, and what its output is compared with."""

    def __init__(self, inputs: Sequence[str], targets: Sequence[str]) -> None:
        if bool(inputs) != bool(targets):
            raise ConfigError("inputs= and targets= belong together: name the parts of a batch that each are")
        self._inputs, self._targets = inputs, targets

    def split(self, batch: Any) -> tuple[tuple[Any, ...], Any]:
        if not self._inputs:
            return split_batch(batch)
        if not isinstance(batch, Mapping):
            raise ConfigError(f"inputs= names parts of dictionaries; this batch is a {type(batch).__name__}")
        for name in (*self._inputs, *self._targets):
            if name not in batch:
                raise ConfigError(f"no batch has a part {name!r}: there are {', '.join(map(str, batch))}")
        targets = {name: batch[name] for name in self._targets}
        return tuple(batch[name] for name in self._inputs), targets if len(targets) > 1 else targets[self._targets[0]]

    def named(self, output: Any) -> Any:
        """The outputs of a model of several by the names of the targets."""
        if len(self._targets) < 2 or isinstance(output, Mapping):
            return output
        if not isinstance(output, list | tuple) or len(output) != len(self._targets):
            found = f"{len(output)} outputs" if isinstance(output, list | tuple) else f"a {type(output).__name__}"
            raise ConfigError(
                f"the model gives {found} for the {len(self._targets)} targets {', '.join(self._targets)}"
            )
        return dict(zip(self._targets, output, strict=True))

    def shown(self, batch: Any, output: Any) -> tuple[Any, Any]:
        """Of parts by name the first input and the first target, and the output for it; else the batch as it is."""
        if not self._inputs or not isinstance(batch, Mapping):
            return batch, output
        first = self._targets[0]
        return (batch[self._inputs[0]], batch[first]), output[first] if isinstance(output, Mapping) else output

    def forward(self, model: nn.Module, batch: Any) -> Any:
        return model(*self.split(batch)[0])


class _Computation:
    """From a model and a batch to a loss and metrics, for the customary kinds of batches."""

    def __init__(self, loss: Callable[..., Tensor] | None, metrics: Mapping[str, Metric], parts: Parts) -> None:
        self._loss, self._metrics, self._parts = loss, metrics, parts
        self.output: Any = None  # of the last batch of an evaluation

    def __call__(self, model: nn.Module, batch: Any) -> Mapping[str, Any]:
        if self._loss is None:
            return {"loss": own_loss(model, batch)}
        inputs, target = self._parts.split(batch)
        output = self._parts.named(model(*inputs))
        values = {"loss": self._loss(output, target)}
        if isinstance(self._loss, Losses):
            values = self._loss.values | values
        if not model.training:
            self.output = output
            values |= {name: _measured(metric, output, target) for name, metric in self._metrics.items()}
        return values


def _measured(metric: Any, output: Any, target: Any) -> Any:
    """The value for this batch; or what counts over all batches, which the run reads at the end of the phase."""
    if not hasattr(metric, "update"):
        return metric(output, target)
    metric.update(output, target)
    return metric


def _log_pictures(live: Run, batch: Any, output: Any, most: int) -> None:
    """What the model makes of a batch's pictures, where it is of a kind that can be shown."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        return
    images, target = batch
    if not all(isinstance(part, Tensor) for part in (images, target, output)):
        return
    numbers = not (target.is_floating_point() or target.is_complex())
    is_class = output.ndim == 2 and target.ndim == 1 and numbers
    is_mask = output.ndim == 4 and target.ndim == 3 and numbers
    is_picture = _are_pictures(output) and output.shape == target.shape
    if _are_pictures(images) and (is_class or is_mask or is_picture):
        live.log_images("val/samples", images, output=output, target=target, most=most)


def _are_pictures(batch: Tensor) -> bool:
    return batch.ndim == 4 and batch.shape[1] in (1, 3, 4) and not batch.is_complex()


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


def split_batch(batch: Any) -> tuple[tuple[Any, ...], Any]:
    """The inputs and the target of a customary batch: a tuple that ends in its target, or a tensor that is both.

    Raises ``ConfigError`` for others.
    """
    if isinstance(batch, Tensor):
        return (batch,), batch
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        return tuple(batch[:-1]), batch[-1]
    raise ConfigError(
        f"loss= needs batches that are tensors or tuples ending in their target; this one is a {type(batch).__name__}. "
        "Of dictionaries say inputs= and targets= of fit; else give a function of the batch that says its loss (compute= "
        "of fit and check, step of find_lr)"
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
    normalize: Normalize | Mapping[str, Callable[[Any], Any] | None] | None,
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


def _as_loaders(
    data: Any,
    batch_size: int,
    transform: Callable[..., Any] | None,
    workers: int | None,
    normalize: Normalize | Mapping[str, Callable[[Any], Any] | None] | None,
) -> _Loaders:
    by_epoch = data if isinstance(data, ByEpoch) else ByEpoch({0: data})
    return _Loaders(
        by_epoch.map(lambda data: _as_loader(data, batch_size, transform, workers, normalize, shuffle=True))
    )


def _as_optimizer(
    optimizer: Optimizer | Callable[..., Optimizer] | str, model: nn.Module, lr: float, groups: Mapping[str, Any]
) -> Optimizer:
    if not isinstance(optimizer, str) and (groups["rules"] or groups["layer_decay"]):
        raise ConfigError("rules= and layer_decay= are for an optimizer given as a name: give it lw.param_groups(...)")
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        rates = groups["rules"] or groups["layer_decay"]
        return build_optimizer(optimizer, param_groups(model, lr=lr if rates else None, **groups), lr=lr)
    return optimizer([p for p in model.parameters() if p.requires_grad])


def _as_scheduler(
    scheduler: Any,
    optimizer: Optimizer,
    loaders: _Loaders,
    epochs: int | str,
    accumulate: int,
    direction: Literal["min", "max"] | None,
) -> Any:
    if isinstance(scheduler, str | Mapping):
        asked: Any = {"name": scheduler} if isinstance(scheduler, str) else scheduler
        lengths = {
            f"total_{per}s": total_steps(loaders.by_epoch, epochs, accumulate=accumulate, per=per)
            for per in ("step", "epoch")
        }
        return build_scheduler(optimizer=optimizer, direction=direction, **lengths, **asked)
    if scheduler is None or hasattr(scheduler, "state_dict"):
        return scheduler
    return scheduler(optimizer)


def _is_plateau(scheduler: Any) -> bool:
    name = scheduler.get("name") if isinstance(scheduler, Mapping) else scheduler
    return isinstance(name, str) and name.lower() == "reducelronplateau"


def _as_average(model: nn.Module, ema: float | Mapping[str, Any] | None, swa: int | None) -> EMA | SWA | None:
    if ema is not None and swa is not None:
        raise ConfigError("ema= and swa= exclude each other: validation would not know which average to measure")
    if swa is not None:
        if isinstance(swa, bool) or not isinstance(swa, int) or swa < 0:
            raise ConfigError(f"swa= is the first epoch of the mean, 0 or more. Found: {swa!r}")
        return SWA(model)
    if ema is None:
        return None
    return EMA(model, **ema) if isinstance(ema, Mapping) else EMA(model, ema)


def _in_parts(model: nn.Module, tile: int | Mapping[str, int] | None) -> nn.Module:
    if tile is None:
        return model
    return Tiled(model, **(tile if isinstance(tile, Mapping) else {"tile": tile}))


@contextlib.contextmanager
def _measured_weights(average: EMA | SWA | None, optimizer: Optimizer) -> Iterator[None]:
    """Where there is an average, the model has it inside."""
    applied = average.applied() if average is not None and average.updates else contextlib.nullcontext()
    with evaluation_weights(optimizer), applied:
        yield


def _augmented(augment: Callable[..., Any], batch: Any, live: Run) -> Any:
    place = {"first": live.first_sample} if live.first_sample and _takes_first(augment) else {}
    if isinstance(batch, Mapping):
        return augment(batch, seed=live.seed, step=live.global_step, **place)
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise ConfigError(f"augment= needs batches of pictures and labels; this one is a {type(batch).__name__}")
    return augment(*batch, seed=live.seed, step=live.global_step, **place)


@functools.cache
def _takes_first(augment: Callable[..., Any]) -> bool:
    """Whether it can be told where the part of a rank begins: a function of one's own need not know of ranks."""
    return "first" in inspect.signature(augment).parameters


def _names(argument: str, given: str | Sequence[str] | None) -> tuple[str, ...]:
    names = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    if len(set(names)) < len(names) or (given is not None and not names):
        raise ConfigError(f"{argument}= names parts of a batch, each once. Found: {given!r}")
    return names


def _switch(optimizer: Optimizer, mode: Literal["train", "eval"]) -> None:
    """Optimizers with modes, as Schedule-Free's, are told."""
    if callable(switch := getattr(optimizer, mode, None)):
        switch()

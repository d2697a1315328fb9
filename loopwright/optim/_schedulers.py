"""Learning-rate schedulers by name, with what follows from the length of training filled in."""

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler

from .._by_epoch import ByEpoch
from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object
from .._when import Limits, parse_span
from ._schedule import Per, Schedule

# Those whose length is that of training are stepped with each batch; all others with each epoch.
_TOTAL_STEPS = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max", "PolynomialLR": "total_iters"}
_SETS_PEAK = {"OneCycleLR": "max_lr"}
_CYCLES_MOMENTUM = ("OneCycleLR", "CyclicLR")
_PLATEAU = "ReduceLROnPlateau"
_NOT_FOR_NAMES = {"LRScheduler", "_LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}
NO_SCHEDULER = "none"


def find_scheduler(name: str) -> Callable[..., Any]:
    """The class of a name, in any case; ``ConfigError`` with near names where there is none.

    >>> find_scheduler("onecyclelr").__name__
    'OneCycleLR'
    """
    if ":" in name:
        return load_object(name)
    known = _torch_schedulers()
    found = {key.lower(): value for key, value in known.items()}.get(name.lower())
    if found is None:
        question = did_you_mean(name, [*known, NO_SCHEDULER])
        raise ConfigError(
            f"there is no scheduler {name!r}: {question or 'see torch.optim.lr_scheduler, or write package.module:Class'}"
        )
    return found


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    total_epochs: int | None = None,
    lr: float | None = None,
    per: Per | None = None,
    warmup: float | str = 0,
    direction: Literal["min", "max"] | None = None,
    **arguments: Any,
) -> Any:
    """A scheduler by name; ``None`` for ``"none"``.

    Args:
        total_steps: of the optimizer in the whole training. It becomes ``total_steps`` of OneCycleLR, ``T_max`` of
            CosineAnnealingLR, ``total_iters`` of PolynomialLR, less the warm-up, unless they are given.
        total_epochs: of the whole training; what is derived where the scheduler is stepped with each epoch.
        lr: the peak, for OneCycleLR's ``max_lr``. Default: the optimizer's own, of each group.
        per: ``"step"`` or ``"epoch"``: what it is stepped with. Default: as is customary; ``steps_per`` tells.
        warmup: a linear rise before it: ``"500 steps"``, ``"2 epochs"``, or a share of the training such as 0.05.
        direction: of the metric that the plateau scheduler is given: its ``mode``, unless that is given.
        arguments: the scheduler's own, checked by name.

    Raises:
        ConfigError: an unknown name or argument; a length that is none; one that is needed and not known.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> build_scheduler("OneCycleLR", optimizer, total_steps=100).total_steps
    100
    >>> schedule = build_scheduler("CosineAnnealingLR", optimizer, total_steps=100, warmup=0.1)
    >>> schedule.warmup, schedule.after.T_max
    (10, 90)
    """
    if name.lower() == NO_SCHEDULER:
        return None
    found = find_scheduler(name)
    check_arguments(found, arguments, place="scheduler", given=("optimizer",))
    _check_lengths(total_steps=total_steps, total_epochs=total_epochs)
    chosen = per or _customary(found.__name__)
    length = total_steps if chosen == "step" else total_epochs
    warm = _warmup_steps(found.__name__, warmup, chosen, total_steps, total_epochs)
    derived = _derived(found.__name__, optimizer, arguments, None if length is None else length - warm, lr, direction)
    scheduler = found(optimizer, **derived, **arguments)
    if not warm and chosen == _customary(found.__name__):
        return scheduler
    return Schedule(scheduler, optimizer, per=chosen, warmup=warm, length=length)


def steps_per(scheduler: Any) -> Per:
    """Whether a scheduler is stepped with each batch or with each epoch: as it was built, else by its customary use."""
    if isinstance(scheduler, Schedule):
        return scheduler.per
    return _customary(type(scheduler).__name__)


def takes_metric(scheduler: Any) -> bool:
    """Whether ``step`` wants a value: the plateau scheduler's does.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> takes_metric(build_scheduler("ReduceLROnPlateau", optimizer))
    True
    """
    inner = scheduler.after if isinstance(scheduler, Schedule) else scheduler
    return isinstance(inner, lr_scheduler.ReduceLROnPlateau)


def total_steps(loader: Any, length: int | str, *, accumulate: int = 1, per: Per = "step") -> int | None:
    """How many steps an optimizer will take, or how many epochs begin; None where the loader or the length does not tell.

    Args:
        loader: anything with ``len``: batches an epoch; or ``ByEpoch`` of such.
        length: epochs, or a length such as ``"500 steps"`` (batches).
        accumulate: batches a step.
        per: ``"epoch"`` to count epochs.

    >>> total_steps([0] * 10, 3, accumulate=4)
    9
    >>> total_steps([0] * 10, "25 steps", per="epoch")
    3
    """
    limits = Limits([length])
    if limits.epochs is not None and per == "epoch":
        return limits.epochs
    if limits.epochs is None and math.isinf(limits.steps):
        return None
    try:
        batches_of = loader.map(len) if isinstance(loader, ByEpoch) else ByEpoch({0: len(loader)})
    except TypeError:
        return None
    return _count(batches_of, limits, accumulate, per)


def _count(batches_of: ByEpoch[int], limits: Limits, accumulate: int, per: Per) -> int:
    """Epoch by epoch: a group of batches ends with its epoch."""
    epochs = steps = 0
    left = limits.steps
    while left > 0 and (limits.epochs is None or epochs < limits.epochs):
        batches = int(min(left, max(batches_of(epochs), 1)))
        steps, left, epochs = steps + -(-batches // accumulate), left - batches, epochs + 1
    return steps if per == "step" else epochs


def check_warmup(warmup: Any) -> None:
    """``ConfigError`` unless it is a share of the training, or a length with its unit."""
    if isinstance(warmup, str):
        if parse_span(warmup).unit == "seconds":
            raise ConfigError(f"warmup: {warmup!r} is a time: write steps, epochs or a share such as 0.05")
    elif isinstance(warmup, bool) or not isinstance(warmup, int | float) or not 0 <= warmup < 1:
        raise ConfigError(
            f"warmup must be a length with its unit, such as '500 steps' or '2 epochs', or a share of the training from 0 "
            f"to 1. Found: {warmup!r}"
        )


def _check_lengths(**lengths: Any) -> None:
    for name, length in lengths.items():
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 0):
            raise ConfigError(f"{name} must be a whole number, or None where it is not known. Found: {length!r}")


def _warmup_steps(name: str, warmup: float | str, per: Per, steps: int | None, epochs: int | None) -> int:
    """The warm-up in what the scheduler is stepped with."""
    check_warmup(warmup)
    if not warmup:
        return 0
    if name in _SETS_PEAK:
        raise ConfigError(
            f"{name} warms up by itself: leave warmup out, and set its pct_start, a share of the training"
        )
    length = steps if per == "step" else epochs
    if isinstance(warmup, str):
        amount = _in_units(warmup, per, steps, epochs)
    else:
        amount = None if length is None else round(length * warmup)
    if amount is None:
        raise ConfigError(f"warmup: {warmup!r}: the length of the training is not known: write it in {per}s")
    if length is not None and amount >= length:
        raise ConfigError(f"warmup: {warmup!r} is {amount} {per}s, and the training has {length}")
    return amount


def _in_units(warmup: str, per: Per, steps: int | None, epochs: int | None) -> int | None:
    span = parse_span(warmup)
    if span.unit == f"{per}s" and span.amount.denominator == 1:
        return int(span.amount)
    if per == "epoch":
        raise ConfigError(
            f"warmup: {warmup!r}: this scheduler is stepped with each epoch: write whole epochs, or per: step"
        )
    return None if not steps or not epochs else round(steps * span.amount / epochs)


def _derived(
    name: str,
    optimizer: Optimizer,
    arguments: dict[str, Any],
    length: int | None,
    lr: float | None,
    direction: str | None,
) -> dict[str, Any]:
    """What follows from the training, where it is not given."""
    derived: dict[str, Any] = {}
    asks = _TOTAL_STEPS.get(name)
    if asks and asks not in arguments:
        if length is None:
            raise ConfigError(
                f"{name} must know how many steps there will be: give {asks}=..., or train by epochs or steps"
            )
        if length < 1:
            raise ConfigError(
                f"{name}: {asks} would be {length}: a schedule is for a training of 1 step or more: train longer, or leave "
                f"it out (name {NO_SCHEDULER!r})"
            )
        derived[asks] = length
    peak = _SETS_PEAK.get(name)
    if peak and peak not in arguments:
        derived[peak] = lr if lr is not None else [group["lr"] for group in optimizer.param_groups]
    if name in _CYCLES_MOMENTUM and "cycle_momentum" not in arguments and not _has_momentum(optimizer):
        derived["cycle_momentum"] = False
    if name == _PLATEAU and direction is not None and "mode" not in arguments:
        derived["mode"] = direction
    return derived


def _has_momentum(optimizer: Optimizer) -> bool:
    """Whether torch's schedulers can let it run against the rate: by the same key in all groups."""
    return any(
        key in optimizer.defaults and all(key in g for g in optimizer.param_groups) for key in ("betas", "momentum")
    )


def _customary(name: str) -> Per:
    return "step" if name in {*_TOTAL_STEPS, "CyclicLR"} else "epoch"


def missing_arguments(name: str, arguments: dict[str, Any]) -> list[str]:
    """Arguments that a scheduler needs and nothing gives."""
    found = find_scheduler(name)
    given = {"optimizer", _TOTAL_STEPS.get(found.__name__), _SETS_PEAK.get(found.__name__), *arguments}
    parameters = inspect.signature(found).parameters.values()
    return [
        p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in given
    ]


def derived_arguments(name: str) -> tuple[str | None, str | None]:
    """The arguments of a scheduler that follow from the training: that for its length, and that for its peak.

    >>> derived_arguments("OneCycleLR"), derived_arguments("StepLR")
    (('total_steps', 'max_lr'), (None, None))
    """
    found = find_scheduler(name).__name__
    return _TOTAL_STEPS.get(found), _SETS_PEAK.get(found)


def _torch_schedulers() -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for name, value in vars(lr_scheduler).items()
        if inspect.isclass(value) and issubclass(value, lr_scheduler.LRScheduler) and name not in _NOT_FOR_NAMES
    }

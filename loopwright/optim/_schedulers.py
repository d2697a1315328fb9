"""Learning-rate schedulers by name, with what follows from the length of training filled in."""

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object
from .._when import Limits

Per = Literal["step", "epoch"]

# Those whose length is that of training are stepped with each batch; all others with each epoch.
_TOTAL_STEPS = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max", "PolynomialLR": "total_iters"}
_SETS_PEAK = {"OneCycleLR": "max_lr"}
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
    name: str, optimizer: Optimizer, *, total_steps: int | None = None, lr: float | None = None, **arguments: Any
) -> Any:
    """A scheduler by name; ``None`` for ``"none"``.

    Args:
        total_steps: batches of the whole training. It becomes ``total_steps`` of OneCycleLR, ``T_max`` of
            CosineAnnealingLR, ``total_iters`` of PolynomialLR, unless they are given.
        lr: the peak, for OneCycleLR's ``max_lr``. Default: the optimizer's own.
        arguments: the scheduler's own, checked by name.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> build_scheduler("OneCycleLR", optimizer, total_steps=100).total_steps
    100
    """
    if name.lower() == NO_SCHEDULER:
        return None
    found = find_scheduler(name)
    check_arguments(found, arguments, place="scheduler", given=("optimizer",))
    derived: dict[str, Any] = {}
    length = _TOTAL_STEPS.get(found.__name__)
    if length and length not in arguments:
        if total_steps is None:
            raise ConfigError(
                f"{found.__name__} must know how many steps there will be: give {length}=..., or train by epochs or steps"
            )
        derived[length] = total_steps
    peak = _SETS_PEAK.get(found.__name__)
    if peak and peak not in arguments:
        derived[peak] = lr if lr is not None else [group["lr"] for group in optimizer.param_groups]
    return found(optimizer, **derived, **arguments)


def steps_per(scheduler: Any) -> Per:
    """Whether a scheduler is stepped with each batch or with each epoch, by its customary use."""
    return "step" if type(scheduler).__name__ in {*_TOTAL_STEPS, "CyclicLR"} else "epoch"


def total_steps(loader: Any, length: int | str, *, accumulate: int = 1) -> int | None:
    """How many steps an optimizer will take; None where the loader or the length does not tell.

    Args:
        loader: anything with ``len``: batches an epoch.
        length: epochs, or a length such as ``"500 steps"`` (batches).
        accumulate: batches a step.

    >>> total_steps([0] * 10, 3, accumulate=4)
    9
    """
    limits = Limits([length])
    try:
        per_epoch = len(loader)
    except TypeError:
        return None
    if limits.epochs is not None:
        return limits.epochs * -(-per_epoch // accumulate)
    if math.isinf(limits.steps):
        return None
    epochs, rest = divmod(int(limits.steps), per_epoch)  # a group ends with its epoch
    return epochs * -(-per_epoch // accumulate) + -(-rest // accumulate)


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

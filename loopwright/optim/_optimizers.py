"""Optimizers by name: torch's, timm's and Schedule-Free where they are installed, or ``package.module:Class``."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from .._errors import ConfigError, MissingExtra
from .._names import check_arguments, did_you_mean, load_object
from ._lbfgs import lay_out_in_closures
from ._together import ADAMW, muon

# Of the extra "schedulefree", which need not be installed for their names to be known.
_SCHEDULE_FREE = ("AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree")


def find_optimizer(name: str) -> Callable[..., Optimizer]:
    """The class of a name, in any case (``adamw``); ``ConfigError`` with near names where there is none.

    Names of torch.optim, ``timm/NAME`` or the bare name where torch has none, Schedule-Free's, or ``package.module:Class``.
    ``Muon`` is torch's for hidden matrices together with AdamW for all else.

    >>> find_optimizer("adamw").__name__
    'AdamW'
    """
    if ":" in name:
        return load_object(name)
    lower = name.lower()
    known = {key.lower(): value for key, value in _torch_optimizers().items()} | {"muon": muon}
    if lower in known:
        return known[lower]
    if found := next((n for n in _SCHEDULE_FREE if n.lower() == lower), None):
        return _schedule_free(found)
    others = _timm_optimizers()
    theirs = lower.removeprefix("timm/")
    if theirs in others:
        from timm.optim import get_optimizer_class  # type: ignore[reportPrivateImportUsage]

        return get_optimizer_class(theirs, bind_defaults=True)
    if lower.startswith("timm/") and not others:
        raise MissingExtra("timm", f"optimizer {name!r}", "timm")
    torchs = _torch_optimizers()
    new = [other for other in others if other not in {key.lower() for key in torchs}]
    question = did_you_mean(name, [*torchs, *_SCHEDULE_FREE, *new])
    raise ConfigError(f"there is no optimizer {name!r}: {question or 'see torch.optim, or write package.module:Class'}")


def check_optimizer_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """``ConfigError`` for what an optimizer of a name does not take."""
    found = find_optimizer(name)
    if found is muon:
        known = {**arguments}
        for key in (*ADAMW, "adamw_lr"):
            known.pop(key, None)
        check_arguments(torch.optim.Muon, known, place="optimizer", given=("params", "lr"))
        return
    check_arguments(found, arguments, place="optimizer", given=("params", "lr"))


def build_optimizer(name: str, parameters: Iterable[Any], *, lr: float, **arguments: Any) -> Optimizer:
    """An optimizer by name, with its own arguments checked by name.

    LBFGS knows no groups: it is given all parameters as one, and their weight decay is left out.

    >>> build_optimizer("SGD", [torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9).defaults["momentum"]
    0.9
    """
    check_optimizer_arguments(name, arguments)
    found = find_optimizer(name)
    if found is torch.optim.LBFGS:
        parameters = _without_groups(parameters)
    built = found(parameters, lr=lr, **arguments)
    lay_out_in_closures(built)
    return built


def _without_groups(parameters: Iterable[Any]) -> list[Any]:
    listed = list(parameters)
    rates = {group["lr"] for group in listed if isinstance(group, dict) and "lr" in group}
    if len(rates) > 1:
        raise ConfigError(f"LBFGS has one learning rate for all parameters, and these groups have {len(rates)}")
    return [p for group in listed for p in (group["params"] if isinstance(group, dict) else [group])]


def _schedule_free(name: str) -> Callable[..., Optimizer]:
    try:
        import schedulefree  # type: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("schedulefree", f"optimizer {name!r}", "schedulefree") from None
    return getattr(schedulefree, name)


def _torch_optimizers() -> dict[str, type[Optimizer]]:
    found = {name: value for name, value in vars(torch.optim).items() if inspect.isclass(value)}
    return {name: v for name, v in found.items() if issubclass(v, Optimizer) and v is not Optimizer}


def _timm_optimizers() -> list[str]:
    try:
        from timm.optim import list_optimizers  # type: ignore[reportPrivateImportUsage]
    except ImportError:
        return []
    return [str(name) for name in list_optimizers()]

"""Optimizers by name: torch's, timm's where it is installed, or your own as ``package.module:Class``."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object


def find_optimizer(name: str) -> Callable[..., Optimizer]:
    """The class of a name, in any case (``adamw``); ``ConfigError`` with near names where there is none.

    >>> find_optimizer("adamw").__name__
    'AdamW'
    """
    if ":" in name:
        return load_object(name)
    known = {key.lower(): value for key, value in _torch_optimizers().items()}
    if name.lower() in known:
        return known[name.lower()]
    others = _timm_optimizers()
    if name.lower() in others:
        from timm.optim import get_optimizer_class  # type: ignore[reportPrivateImportUsage]

        return get_optimizer_class(name.lower(), bind_defaults=True)
    question = did_you_mean(name, [*_torch_optimizers(), *others])
    raise ConfigError(f"there is no optimizer {name!r}: {question or 'see torch.optim, or write package.module:Class'}")


def build_optimizer(name: str, parameters: Iterable[Any], *, lr: float, **arguments: Any) -> Optimizer:
    """An optimizer by name, with its own arguments checked by name.

    >>> build_optimizer("SGD", [torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9).defaults["momentum"]
    0.9
    """
    found = find_optimizer(name)
    check_arguments(found, arguments, place="optimizer", given=("params", "lr"))
    return found(parameters, lr=lr, **arguments)


def _torch_optimizers() -> dict[str, type[Optimizer]]:
    found = {name: value for name, value in vars(torch.optim).items() if inspect.isclass(value)}
    return {name: v for name, v in found.items() if issubclass(v, Optimizer) and v is not Optimizer}


def _timm_optimizers() -> list[str]:
    try:
        from timm.optim import list_optimizers  # type: ignore[reportPrivateImportUsage]
    except ImportError:
        return []
    torchs = {name.lower() for name in _torch_optimizers()}
    return [str(name) for name in list_optimizers() if str(name).lower() not in torchs]

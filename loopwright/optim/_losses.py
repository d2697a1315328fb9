"""Losses by name: torch's functions and classes, those of pictures and masks, or your own ``package.module:function``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn import functional

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object
from ._picture_losses import Perceptual, charbonnier_loss, dice_loss, focal_loss, gradient_loss, ssim_loss

_OWN: dict[str, Callable[..., Any]] = {
    "l1": functional.l1_loss, "l2": functional.mse_loss, "charbonnier": charbonnier_loss, "ssim": ssim_loss,
    "gradient": gradient_loss, "dice": dice_loss, "focal": focal_loss, "perceptual": Perceptual,
}  # fmt: skip
GIVEN = ("input", "target", "weight", "size_average", "reduce", "reduction")


def build_loss(name: str, **arguments: Any) -> Callable[..., Any]:
    """A loss function by name: ``cross_entropy``, ``CrossEntropyLoss``, ``l1_loss``, ..., with its own arguments.

    Of pictures ``l1``, ``l2``, ``charbonnier``, ``ssim``, ``gradient`` and ``perceptual``; of masks ``dice`` and ``focal``.

    >>> loss = build_loss("cross_entropy", label_smoothing=0.1)
    >>> build_loss("CrossEntropyLoss").reduction
    'mean'
    """
    found: Any = find_loss(name)
    check_arguments(found, arguments, place="loss", given=GIVEN)
    if inspect.isclass(found):
        made: Any = found(**arguments)
        return made
    return functools.partial(found, **arguments) if arguments else found


def find_loss(name: str) -> Callable[..., Any]:
    """The function or class of a name; ``ConfigError`` with near names where there is none."""
    if ":" in name:
        return load_object(name)
    functions = {n: f for n, f in vars(functional).items() if callable(f) and ("loss" in n or "cross_entropy" in n)}
    classes = {n: c for n, c in vars(nn).items() if inspect.isclass(c) and n.endswith("Loss")}
    known: dict[str, Any] = {n: v for n, v in {**functions, **classes, **_OWN}.items() if not n.startswith("_")}
    if name not in known:
        question = did_you_mean(name, known)
        raise ConfigError(
            f"there is no loss {name!r}: {question or 'see torch.nn.functional, or write package.module:function'}"
        )
    return known[name]

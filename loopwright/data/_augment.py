"""Transforms by name: loopwright's, torchvision's v2, or your own as ``package.module:Class``."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean, load_object
from ._transforms import CenterCrop, Compose, Flips, RandomCrop, RandomResizedCrop

_OWN: dict[str, Callable[..., Any]] = {
    "RandomResizedCrop": RandomResizedCrop, "CenterCrop": CenterCrop, "RandomCrop": RandomCrop,
    "Flips": Flips,
}  # fmt: skip
NO_AUGMENTATION = "none"


def build_transform(steps: Sequence[tuple[str, Mapping[str, Any]]], *, size: int) -> Callable[..., Any]:
    """Named transforms in their order, as one; each with its own arguments, ``size`` given to those that take it.

    >>> steps = [("RandomResizedCrop", {"scale": (0.35, 1.0)}), ("ColorJitter", {"brightness": 0.2})]
    >>> build_transform(steps, size=64)  # doctest: +ELLIPSIS
    Compose([RandomResizedCrop(64, scale=(0.35, 1.0), ...), ColorJitter(brightness=(0.8, 1.2))])
    """
    made = [_build(name, arguments, size) for name, arguments in steps if name.lower() != NO_AUGMENTATION]
    if not made:
        return CenterCrop(size)
    return made[0] if len(made) == 1 else Compose(made)


def find_transform(name: str) -> Callable[..., Any]:
    """The class of a name; ``ConfigError`` with near names where there is none."""
    if ":" in name:
        return load_object(name)
    if name in _OWN:
        return _OWN[name]
    from torchvision.transforms import v2

    theirs = {
        n: c
        for n, c in vars(v2).items()
        if inspect.isclass(c) and issubclass(c, v2.Transform) and c is not v2.Transform
    }
    if name not in theirs:
        question = did_you_mean(name, [*_OWN, *theirs, NO_AUGMENTATION])
        raise ConfigError(f"there is no transform {name!r}: {question or 'see torchvision.transforms.v2'}")
    return theirs[name]


def _build(name: str, arguments: Mapping[str, Any], size: int) -> Callable[..., Any]:
    found = find_transform(name)
    check_arguments(found, arguments, place=f"augment.{name}")
    takes_size = "size" in inspect.signature(found).parameters
    given = {"size": size, **arguments} if takes_size else dict(arguments)
    try:
        return found(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"augment: {name}: {error}") from error

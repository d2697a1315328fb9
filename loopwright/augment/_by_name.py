"""Mixup and cutmix by name. Knows nothing about configurations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import ConfigError
from .._names import check_arguments, did_you_mean
from ._mix import CutMix, Mixing, Mixup
from ._pipeline import BatchAugment, OneOf

_MIXES: dict[str, Callable[..., Mixing]] = {"Mixup": Mixup, "CutMix": CutMix}


def find_mix(name: str) -> Callable[..., Mixing]:
    """The class of a name, in any case; ``ConfigError`` with near names where there is none."""
    found = {known.lower(): value for known, value in _MIXES.items()}.get(name.lower())
    if found is None:
        question = did_you_mean(name, _MIXES) or f"there are {' and '.join(_MIXES)}"
        raise ConfigError(f"there is no mix {name!r}: {question}")
    return found


def build_mix(steps: Sequence[tuple[str, Mapping[str, Any]]], *, classes: int) -> BatchAugment | None:
    """Named mixes with their own arguments; of several, one is drawn for each step. None where there are none.

    >>> build_mix([("mixup", {"alpha": 0.2}), ("cutmix", {})], classes=10)
    BatchAugment([OneOf([Mixup(10, alpha=0.2, p=1.0), CutMix(10, alpha=1.0, p=1.0)], weights=(1.0, 1.0))])
    """
    made = []
    for name, arguments in steps:
        found = find_mix(name)
        check_arguments(found, arguments, place="mix", given=("classes",))
        made.append(found(classes, **arguments))
    if not made:
        return None
    return BatchAugment(made if len(made) == 1 else [OneOf(made)])

"""States that ``torch.load(weights_only=True)`` can read back: turned into plain values before saving, compared when
loading. Knows nothing about files, folders or runs."""

import fnmatch
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ._errors import CheckpointError
from ._split import alike


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state can be saved and loaded: modules, optimizers, schedulers, EMA, your own classes."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def plain_state(tree: Any, place: str) -> Any:
    """A copy of a state's containers in which every leaf is a tensor or a plain value; tensors are not copied.

    NumPy scalars become Python numbers and arrays become tensors. Raises ``CheckpointError`` naming the ``place`` of
    anything else: such a checkpoint could only be read by running code from the file.
    """
    if type(tree) is bytes and not tree:
        raise CheckpointError(
            f"{place} is b'', which torch.load(weights_only=True) cannot read: leave it out, or save None"
        )
    if isinstance(tree, Tensor) or tree is None or type(tree) in (bool, int, float, str, bytes, complex):
        return tree.detach() if isinstance(tree, Tensor) and tree.requires_grad else tree
    if isinstance(tree, Mapping):
        items = {plain_state(k, f"{place} key"): plain_state(v, f"{place}.{k}") for k, v in tree.items()}
        kept: Any = type(tree) if type(tree) in (OrderedDict, Counter) else dict
        return kept(items)
    if isinstance(tree, list | tuple | set):
        kind: Any = list if isinstance(tree, list) else set if isinstance(tree, set) else tuple
        return kind(plain_state(v, f"{place}[{i}]") for i, v in enumerate(tree))
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree.copy())
    if isinstance(tree, torch.dtype | torch.device | torch.Size):
        return tree
    if isinstance(tree, PurePath):
        return str(tree)
    if isinstance(tree, Enum):
        return plain_state(tree.value, place)
    if (kind := next((kind for kind in (int, float, str) if isinstance(tree, kind)), None)) is not None:
        return kind(tree)  # a subclass of a plain value
    raise CheckpointError(
        f"{place} is a {type(tree).__module__}.{type(tree).__qualname__}: a checkpoint holds tensors and plain values "
        "only. Leave it out of state_dict(), or save what is needed to build it again"
    )


@dataclass(frozen=True)
class LoadReport:
    """What fitted and what did not when weights were loaded into a module."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors fit"]
        for title, names in (
            ("missing (the module has them, the state does not)", self.missing),
            ("unexpected (the state has them, the module does not)", self.unexpected),
            ("misshapen", self.misshapen),
        ):
            if names:
                shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
                lines.append(f"{len(names)} {title}: {shown}")
        return "; ".join(lines)


def clean_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Parameter names without the prefixes that DDP (``module.``) and ``torch.compile`` (``_orig_mod.``) put in front."""
    cleaned = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    if cleaned and all(name.startswith("module.") for name in cleaned):
        cleaned = {name.removeprefix("module."): value for name, value in cleaned.items()}
    return cleaned


def _tensor_report(own: Mapping[str, Any], given: Mapping[str, Any]) -> LoadReport:
    report = LoadReport()
    for name, value in own.items():
        if name not in given:
            report.missing.append(name)
        elif isinstance(value, Tensor) and isinstance(given[name], Tensor) and value.shape != given[name].shape:
            report.misshapen.append(f"{name} {tuple(value.shape)} here, {tuple(given[name].shape)} in the state")
        else:
            report.loaded.append(name)
    report.unexpected.extend(name for name in given if name not in own)
    return report


def load_state(
    module: nn.Module,
    state: Mapping[str, Any],
    *,
    strict: bool = True,
    only: str | Iterable[str] = "*",
    place: str = "the state",
) -> LoadReport:
    """Load named tensors into a module and report by name what did not fit.

    Args:
        module: receives the values, on whatever device its own tensors are.
        state: tensor names to tensors, as ``module.state_dict()`` gives.
        strict: raise ``CheckpointError`` unless every name and shape fits, before anything is changed. With ``False``
            what fits is loaded and the report tells the rest.
        only: shell patterns of the names to load, such as ``"backbone.*"``; other names are left alone and not reported.
        place: what the error calls the state.

    >>> report = load_state(nn.Linear(2, 3), nn.Linear(2, 4).state_dict(), strict=False)
    >>> report.misshapen
    ['weight (3, 2) here, (4, 2) in the state', 'bias (3,) here, (4,) in the state']
    """
    patterns = [only] if isinstance(only, str) else list(only)

    def wanted(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in values.items() if any(fnmatch.fnmatchcase(k, pattern) for pattern in patterns)}

    names = dict(
        zip(clean_names(own_state := module.state_dict()), own_state, strict=True)
    )  # clean -> the module's own
    own, given = wanted({clean: own_state[name] for clean, name in names.items()}), wanted(clean_names(state))
    report = _tensor_report(own, given)
    if strict and not report.complete:
        raise CheckpointError(f"{place} does not fit the {type(module).__name__}: {report}")
    if not own:
        raise CheckpointError(f"no tensor of the {type(module).__name__} has a name like {', '.join(patterns)}")
    fitting = {names[name]: alike(own[name], given[name]) for name in report.loaded}
    module.load_state_dict(fitting, strict=False)
    return report

"""``OfTarget``: a loss or a metric of one of several targets. Knows no weights, names of losses, or models."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .._errors import ConfigError
from .._names import did_you_mean


class OfTarget(nn.Module):
    """A loss or metric for one of several targets: called with outputs and targets by name, it takes one of each.

    Args:
        name: of the target, as ``targets=`` of ``fit`` has it.
        function: of (output, target), such as ``torch.nn.functional.l1_loss`` or ``lw.psnr``.

    >>> import torch
    >>> depth = OfTarget("depth", torch.nn.functional.l1_loss)
    >>> depth({"depth": torch.ones(2), "edges": torch.zeros(2)}, {"depth": torch.zeros(2), "edges": torch.zeros(2)})
    tensor(1.)
    """

    def __init__(self, name: str, function: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def forward(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
        for what, parts in (("outputs", outputs), ("targets", targets)):
            if not isinstance(parts, Mapping) or self.name not in parts:
                names = ", ".join(map(str, parts)) if isinstance(parts, Mapping) else f"a {type(parts).__name__}"
                question = did_you_mean(self.name, [*parts]) if isinstance(parts, Mapping) else ""
                raise ConfigError(f"OfTarget({self.name!r}): the {what} are {names}. {question}".rstrip())
        return self.function(outputs[self.name], targets[self.name])

    def extra_repr(self) -> str:
        return repr(self.name)

"""``Losses``: several losses by name, each with its weight, each to be logged. Knows nothing about models and loops."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import ConfigError
from ._course import Course, Numbers

Loss = Callable[..., Tensor]
TOTAL = "loss"


class Losses(nn.Module):
    """The weighted sum of named losses; ``values`` has each of them, unweighted, and the sum as ``"loss"``.

    It is a module so that ``run.evaluate(model, losses)`` switches it to the list for evaluation, ``run.prepare(losses)``
    moves losses that have weights of their own, and ``run.register`` keeps these. A loss whose weight is 0 is measured
    without a gradient.

    Args:
        losses: names to losses, or to pairs (loss, weight). A loss is a function, such as
            ``torch.nn.functional.l1_loss``, or a module, and gives a tensor of one element. A weight is a number; points
            ``{epoch: weight}`` with straight lines between; or a function of ``epoch``, ``step`` or both, by these names.
        evaluation: the same for evaluation, where these differ. Default: ``losses``.

    Raises:
        ConfigError: a name, loss or weight that cannot be; a weight that changes, and nobody said where training is.

    >>> from torch.nn import functional as F
    >>> losses = Losses({"pixels": F.l1_loss, "squares": (F.mse_loss, {0: 0.0, 10: 0.5})})
    >>> losses.at(epoch=10)
    >>> losses(torch.tensor([3.0]), torch.tensor([1.0])).item()
    4.0
    >>> {name: value.item() for name, value in losses.values.items()}
    {'loss': 4.0, 'pixels': 2.0, 'squares': 4.0}
    """

    def __init__(self, losses: Mapping[str, Any], *, evaluation: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._lists = {
            "train": _Weighted(losses),
            "evaluation": _Weighted(losses if evaluation is None else evaluation),
        }
        # Modules among them are this module's, so that they move with it and their weights are in its state.
        for phase, weighted in self._lists.items():
            for name, loss in weighted.losses.items():
                if isinstance(loss, nn.Module):
                    self.add_module(f"{phase}_{name}", loss)
        self._place: tuple[float, int] | None = None
        self.values: dict[str, Tensor] = {}  # of the last call

    def at(self, *, epoch: float, step: int = 0) -> None:
        """Say where training is, for weights that change: once an epoch, or before each step.

        Args:
            epoch: 0 or more, also between whole ones.
            step: ``run.global_step``.
        """
        self._place = (epoch, step)

    def weights(self) -> dict[str, float]:
        """The weight of each loss at this place of the training."""
        return self._present.weights(self._place)

    def forward(self, *given: Any) -> Tensor:
        """The sum for (output, target), or whatever the losses take."""
        total, self.values = None, {}
        weights = self.weights()
        for name, loss in self._present.losses.items():
            weight = weights[name]
            with torch.set_grad_enabled(weight != 0 and torch.is_grad_enabled()):
                value = _single(loss(*given), name)
            self.values[name] = value.detach()
            if weight != 0:
                part = value if weight == 1 else weight * value
                total = part if total is None else total + part
        if total is None:
            raise ConfigError(f"all weights are 0 at this place: {', '.join(weights)}: there is nothing to learn from")
        self.values = {TOTAL: total.detach(), **self.values}
        return total

    @property
    def _present(self) -> "_Weighted":
        return self._lists["train" if self.training else "evaluation"]

    def extra_repr(self) -> str:
        return "; ".join(f"{phase}: {', '.join(weighted.losses)}" for phase, weighted in self._lists.items())


class _Weighted:
    """One list: losses and the courses of their weights, by name."""

    def __init__(self, losses: Mapping[str, Any]) -> None:
        if not isinstance(losses, Mapping) or not losses:
            raise ConfigError(f"Losses needs names and losses, such as {{'pixels': F.l1_loss}}. Found: {losses!r}")
        self.losses: dict[str, Loss] = {}
        self._courses: dict[str, Course] = {}
        for name, given in losses.items():
            loss, weight = _pair(name, given)
            self.losses[name], self._courses[name] = loss, Course(weight, f"Losses: the weight of {name!r}")

    def weights(self, place: tuple[float, int] | None) -> dict[str, float]:
        if place is None and (varying := [name for name, course in self._courses.items() if course.varies]):
            raise ConfigError(
                f"the weight of {', '.join(varying)} changes with the training: say where it is with "
                "losses.at(epoch=epoch, step=run.global_step)"
            )
        epoch, step = place or (0, 0)
        return {name: course(epoch=epoch, step=step) for name, course in self._courses.items()}


def _pair(name: str, given: Any) -> tuple[Loss, Numbers]:
    if not isinstance(name, str) or not name or name == TOTAL or "." in name:
        raise ConfigError(f"Losses: a name is text without dots, and not {TOTAL!r}, which is the sum. Found: {name!r}")
    is_pair = isinstance(given, tuple | list) and len(given) == 2
    pair: tuple[Any, Any] = (given[0], given[1]) if is_pair else (given, 1.0)
    loss: Any = pair[0]
    if not callable(loss) or isinstance(loss, type):
        hint = ": call the class first" if isinstance(loss, type) else ""
        raise ConfigError(f"Losses: {name!r} must be a loss or a pair (loss, weight). Found: {given!r}{hint}")
    return pair


def _single(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"Losses: {name!r} must give a tensor of one element, a mean. Found: {found}")
    return value

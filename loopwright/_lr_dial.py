"""``Dial``: sets an optimizer's learning rate, of all groups in their proportions, whatever else would set it."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ._errors import ConfigError


class Dial:
    """The learning rate of the group with the largest one; the others keep their ratio to it.

    While it is held a rate stands at every step of the optimizer: a scheduler that is stepped in between changes nothing.

    Args:
        optimizer: of torch, or with ``param_groups`` as torch's.

    >>> import torch
    >>> weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    >>> optimizer = torch.optim.SGD([{"params": [weights[0]], "lr": 0.25}, {"params": [weights[1]]}], lr=0.5)
    >>> Dial(optimizer).rates(0.1)
    [0.05, 0.1]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        given = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        largest = max(given, default=0.0)
        if not largest > 0:
            given, largest = [1.0] * len(given), 1.0  # a warm-up's first step, say: no ratio to keep
        self._ratios = [rate / largest for rate in given]
        self._rate: float | None = None
        self._hook: Any = None
        self.steps = 0  # of the optimizer, since the rate was first set

    def rates(self, rate: float) -> list[float]:
        """The rate of each group."""
        return [rate * ratio for ratio in self._ratios]

    def weights(self) -> Iterator[Tensor]:
        """What the optimizer trains."""
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def hold(self) -> None:
        """From now on the rate that is set stands at each step."""
        register = getattr(self._optimizer, "register_step_pre_hook", None)
        if register is None:
            raise ConfigError(
                f"the {type(self._optimizer).__name__} has no register_step_pre_hook: give one of torch.optim, or one "
                "derived from torch.optim.Optimizer"
            )
        self._hook = register(self._before_step)

    def let_go(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def set(self, rate: float) -> None:
        self._rate = rate
        self._turn()

    def _before_step(self, _optimizer: Optimizer, _args: Sequence[Any], _kwargs: dict[str, Any]) -> None:
        self.steps += 1
        self._turn()

    def _turn(self) -> None:
        if self._rate is None:
            return
        for group, rate in zip(self._optimizer.param_groups, self.rates(self._rate), strict=True):
            old = group["lr"]
            group["lr"] = old.new_full(old.shape, rate) if isinstance(old, Tensor) else rate

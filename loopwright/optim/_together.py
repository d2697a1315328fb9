"""``Together``: several optimizers that are stepped, scheduled and saved as one; and Muon, which needs such company."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._errors import ConfigError


class Together(Optimizer):
    """Several optimizers, each with parameters of its own, as one for schedulers, ``run.step`` and checkpoints.

    ``param_groups`` are those of all, in their order, the very same ones, so that what sets a rate there sets it.

    Args:
        optimizers: no parameter is in two of them.

    >>> one, other = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    >>> both = Together([torch.optim.SGD([one], lr=0.1), torch.optim.Adam([other], lr=0.2)])
    >>> [group["lr"] for group in both.param_groups]
    [0.1, 0.2]
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        listed = [id(p) for group in groups for p in group["params"]]
        if not listed or len(listed) != len(set(listed)):
            raise ConfigError("Together needs optimizers with parameters, and none that two of them have")
        super().__init__([{"params": group["params"]} for group in groups], {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        if closure is not None:
            raise ConfigError("Together takes no closure: the losses would be measured at different places")
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = state_dict["optimizers"]
        if len(states) != len(self.optimizers):
            raise ValueError(f"the state is of {len(states)} optimizers, and these are {len(self.optimizers)}")
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        self._share()

    def _share(self) -> None:
        # load_state_dict of the single ones makes new groups
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


ADAMW = ("betas", "eps", "amsgrad")  # of Muon's arguments by name, what is AdamW's


def muon(parameters: Iterable[Any], *, lr: float, adamw_lr: float | None = None, **arguments: Any) -> Optimizer:
    """Torch's Muon for hidden matrices, AdamW for all else, as its authors mean it.

    Hidden matrices are the parameters with exactly two dimensions, but for the model's first and last weights, which are
    taken for its input and its head. Kernels of convolutions have four dimensions, which torch's Muon does not take.

    Args:
        parameters: parameters, or groups of them, in the order of the model.
        lr: of Muon; it is made comparable with AdamW's unless ``adjust_lr_fn`` says otherwise.
        adamw_lr: of all else. Default: ``lr``, of each group.
        arguments: of Muon, and ``betas``, ``eps`` of AdamW.

    Raises:
        ConfigError: there is no hidden matrix, as in most convolutional networks.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; Liu et al., "Muon is scalable
    for LLM training", 2025, for the comparable rate.
    """
    groups = [g if isinstance(g, dict) else {"params": [g]} for g in parameters]
    groups = [{**group, "params": _listed(group["params"])} for group in groups]
    weights = [p for group in groups for p in group["params"] if p.ndim >= 2]
    hidden = {id(p) for p in weights[1:-1] if p.ndim == 2}
    if not hidden:
        raise ConfigError(
            f"Muon is for hidden matrices, and of {sum(len(g['params']) for g in groups)} parameters none is one: torch's "
            "takes no kernels of convolutions. Take AdamW, or timm/muon, which reshapes them"
        )
    theirs = {key: arguments.pop(key) for key in ADAMW if key in arguments}
    arguments = {"adjust_lr_fn": "match_rms_adamw"} | arguments
    rest = [_with_rate(group, lambda p: id(p) not in hidden, adamw_lr) for group in groups]
    ours = [_with_rate(group, lambda p: id(p) in hidden, None) for group in groups]
    return Together([
        torch.optim.Muon([group for group in ours if group["params"]], lr=lr, **arguments),
        torch.optim.AdamW([group for group in rest if group["params"]], lr=adamw_lr or lr, **theirs),
    ])  # fmt: skip


def _listed(params: Any) -> list[Tensor]:
    return [params] if isinstance(params, Tensor) else list(params)


def _with_rate(group: dict[str, Any], takes: Callable[[Tensor], bool], lr: float | None) -> dict[str, Any]:
    part = {**group, "params": [p for p in group["params"] if takes(p)]}
    return part if lr is None else part | {"lr": lr}

"""``param_groups``: a model's parameters in groups, so that weight decay falls where it should."""

from typing import Any

from torch import nn

from .._errors import ConfigError


def param_groups(model: nn.Module, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights that decay, and norms, biases and other vectors that do not.

    Frozen parameters (``requires_grad=False``) are left out. Every other parameter is in exactly one group, once, also
    where layers share it.

    Args:
        model: whose parameters to train.
        weight_decay: of the first group, 0 or more; the second has 0.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1, which leaves norms without decay.

    >>> groups = param_groups(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), weight_decay=0.05)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.05, 1), (0.0, 3)]
    """
    if weight_decay < 0:
        raise ConfigError(f"weight_decay must be 0 or more. Found: {weight_decay}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError(
            f"the {type(model).__name__} has no parameter that is trained: all are frozen, or it has none"
        )
    decays = [parameter for parameter in trained if parameter.ndim > 1]
    stays = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]

"""``freeze``, ``unfreeze`` and ``Unfreezing``: which parameters are trained, by pattern and by epoch."""

from collections.abc import Iterable, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._by_epoch import ByEpoch
from .._errors import ConfigError
from ._patterns import as_patterns, check_pattern, matching, names_by_parameter


def freeze(model: nn.Module, *patterns: str) -> int:
    """Train the parameters that are like one of the patterns no more; how many these are.

    Batch norm whose parameters are all frozen is put into evaluation mode, so that its statistics stay, too. It stays in
    it through ``run.evaluate``; a ``model.train()`` of your own undoes that, so freeze after it.

    Args:
        patterns: of names as in the shell, or names of modules, which mean all below them; each must match something.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    >>> freeze(model, "0", "1.*"), [name for name, p in model.named_parameters() if p.requires_grad]
    (4, ['3.weight', '3.bias'])
    """
    frozen = matching(model, _some("freeze", patterns), "freeze")
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimizer would go on with it
    _settle_norms(model)
    return len(frozen)


def unfreeze(model: nn.Module, *patterns: str) -> int:
    """Train them again: what ``freeze`` did, undone; how many these are. Build the optimizer with them in it.

    >>> model = nn.Linear(2, 2).requires_grad_(False)
    >>> unfreeze(model, "bias"), model.bias.requires_grad, model.weight.requires_grad
    (1, True, False)
    """
    thawed = matching(model, _some("unfreeze", patterns), "unfreeze")
    for parameter in thawed:
        parameter.requires_grad_(True)
    _settle_norms(model)
    return len(thawed)


class Unfreezing:
    """More and more of a model is trained: called with the epoch at its beginning, it freezes all that is not yet.

    What is trained is a function of the epoch alone, so a resumed run needs no state of it. Build the optimizer before the
    first call: it must have all parameters, and leaves alone those without a gradient.

    Args:
        model: parameters that are frozen when this is made stay so.
        epochs: from the epoch to the patterns of what is trained from then on, beside what was before it, as in
            ``{0: "fc", 2: "layer4", 5: "*"}``. Patterns as in ``freeze``, one or a list; epoch 0 must be there.

    Raises:
        ConfigError: there is no epoch 0, or a pattern matches nothing.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018, section 3.3.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> unfreezing = Unfreezing(model, {0: "1", 3: "0.bias", 5: "*"})
    >>> for epoch in (0, 4, 5):
    ...     unfreezing(epoch)
    ...     print([name for name, p in model.named_parameters() if p.requires_grad])
    ['1.weight', '1.bias']
    ['0.bias', '1.weight', '1.bias']
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, model: nn.Module, epochs: Mapping[int, str | Iterable[str]]) -> None:
        self._model = model
        steps = ByEpoch({epoch: as_patterns(patterns) for epoch, patterns in epochs.items()})
        for _, patterns in steps.items():
            for pattern in patterns:
                check_pattern(pattern, model, "unfreeze")
        if not steps(0):
            raise ConfigError("unfreeze: nothing is trained in epoch 0: name its patterns")
        listed = list(steps.items())
        so_far = {epoch: [p for e, ps in listed if e <= epoch for p in ps] for epoch, _ in listed}
        self._trained = ByEpoch(so_far).map(lambda patterns: set(matching(model, patterns, "unfreeze")))
        self._ours = [parameter for parameter in names_by_parameter(model) if parameter.requires_grad]

    def __call__(self, epoch: int) -> None:
        """Train what is trained in an epoch, and nothing else."""
        trained = self._trained(epoch)
        for parameter in self._ours:
            parameter.requires_grad_(parameter in trained)
            if parameter not in trained:
                parameter.grad = None
        _settle_norms(self._model)


def _settle_norms(model: nn.Module) -> None:
    """Batch norm keeps its statistics where all its parameters are frozen, as long as the model is in training mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and (own := list(module.parameters(recurse=False))):
            frozen = not any(parameter.requires_grad for parameter in own)
            if frozen or model.training:
                module.train(not frozen)


def _some(name: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise ConfigError(f"{name}(model, 'backbone', 'head.*') takes texts, one after the other. Found: {wrong[0]!r}")
    if not patterns:
        raise ConfigError(f"{name}(model) without patterns does nothing: '*' means all parameters")
    return patterns

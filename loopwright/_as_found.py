"""``AsFound``: a training as it is now, to begin from it again and again, and to leave it so. Writes no files."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._snapshot import Snapshot

_PLAIN = (bool, int, float, str, type(None))


class AsFound:
    """A ``Snapshot`` of objects, and what a training changes beside their states.

    Of optimizers also parameters that belong to none of the modules, and the very dictionaries of their groups, which
    others may hold; of modules which parameters are trained, and attributes that are plain numbers, such as a counter.

    Args:
        objects: anything with ``state_dict`` and ``load_state_dict``.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> found = AsFound([torch.optim.SGD([weight], lr=0.1)])
    >>> _ = weight.data.zero_()
    >>> found.put_back()
    >>> weight.item()
    1.0
    """

    def __init__(self, objects: Iterable[Any]) -> None:
        self.objects = list(objects)
        self._optimizers = list(_with_inner(value for value in self.objects if isinstance(value, Optimizer)))
        self._layers = [layer for value in self.objects if isinstance(value, nn.Module) for layer in value.modules()]
        owned = {id(p) for layer in self._layers for p in layer.parameters(recurse=False)}
        loose = _Loose(p for p in self._optimized() if id(p) not in owned)
        self._snapshot = Snapshot([*self.objects, *([loose] if loose.tensors else [])])
        self._trained = [(p, p.requires_grad) for layer in self._layers for p in layer.parameters(recurse=False)]
        self._numbers = [(layer, _numbers(layer)) for layer in self._layers]

    def clear_gradients(self) -> None:
        """No parameter has a gradient from before."""
        for parameter in (*self._optimized(), *(p for p, _ in self._trained)):
            parameter.grad = None

    def put_back(self) -> None:
        """Make everything what it was, the global random generators too."""
        groups = [(optimizer, optimizer.param_groups, list(optimizer.param_groups)) for optimizer in self._optimizers]
        self._snapshot.put_back()
        for optimizer, listed, held in groups:
            _keep_identity(optimizer, listed, held)
        for parameter, trained in self._trained:
            parameter.requires_grad_(trained)
        for layer, numbers in self._numbers:
            for name, value in numbers.items():
                vars(layer)[name] = value

    def check(self) -> None:
        """``ConfigError`` naming the first object that is not what it was."""
        self._snapshot.check()

    def _optimized(self) -> Iterator[Tensor]:
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                yield from group["params"]


class _Loose:
    """Parameters that belong to no module, with their gradients."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)

    def state_dict(self) -> dict[str, Any]:
        return {"values": [t.detach() for t in self.tensors], "gradients": [t.grad for t in self.tensors]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        for tensor, value, gradient in zip(self.tensors, state["values"], state["gradients"], strict=True):
            with torch.no_grad():
                tensor.copy_(value)
            tensor.grad = None if gradient is None else gradient.to(tensor.device)


def _with_inner(optimizers: Iterable[Any]) -> Iterator[Optimizer]:
    """Optimizers behind those that they step, such as ``Together``'s: what is in both has to stay the same group."""
    for value in optimizers:
        if isinstance(value, Optimizer):
            for held in vars(value).values():
                yield from _with_inner(held if isinstance(held, list | tuple) else [held])
            yield value


def _keep_identity(optimizer: Optimizer, listed: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
    """Loading a state makes new groups; the old ones take their values, for whoever holds one."""
    new = optimizer.param_groups
    for old, values in zip(held, new, strict=True):
        old.clear()
        old.update(values)
    listed[:] = held
    optimizer.param_groups = listed


def _numbers(layer: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(layer).items() if type(value) in _PLAIN}

"""``Snapshot``: objects and random generators as they are now, to put them back, bit for bit. Writes no files."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ._errors import ConfigError
from ._nested import leaves, map_nested
from ._seed import capture_rng, restore_rng
from ._state import Stateful


class Snapshot:
    """Copies of states in the memory of the host, so that they take no room on a device.

    Of modules also what ``state_dict`` leaves out: buffers that are not persistent, gradients, and which layers train.

    Args:
        objects: anything with ``state_dict`` and ``load_state_dict``.

    Raises:
        ConfigError: one of them has no state.

    >>> layer = nn.Linear(2, 1)
    >>> before, snapshot = layer.weight.detach().clone(), Snapshot([layer])
    >>> _ = layer.weight.data.uniform_()
    >>> snapshot.put_back()
    >>> torch.equal(layer.weight, before)
    True
    """

    def __init__(self, objects: Iterable[Any]) -> None:
        self._objects: list[Stateful] = list(objects)
        for value in self._objects:
            if not isinstance(value, Stateful):
                raise ConfigError(
                    f"a {type(value).__name__} has no state_dict and load_state_dict, so it cannot be put back: give "
                    "modules, optimizers, schedulers, or objects of your own that have both"
                )
        self._rng = capture_rng()
        self._states = [_copied(value.state_dict()) for value in self._objects]
        self._modules = [_Rest(value) for value in self._objects if isinstance(value, nn.Module)]

    def put_back(self) -> None:
        """Make everything what it was."""
        for value, state in zip(self._objects, self._states, strict=True):
            # A copy of the copy: optimizers and schedulers keep what they are given, and would change it.
            value.load_state_dict(state if isinstance(value, nn.Module) else _copied(state))
        for rest in self._modules:
            rest.put_back()
        restore_rng(self._rng)

    def check(self) -> None:
        """``ConfigError`` naming the first object that is not what it was: its ``load_state_dict`` loses something."""
        for value, state in zip(self._objects, self._states, strict=True):
            if not _same(_copied(value.state_dict()), state):
                raise ConfigError(
                    f"the {type(value).__name__} is not what it was after load_state_dict(state_dict()): build it again "
                    "before training, and correct its load_state_dict"
                )


class _Rest:
    """What a module has beside its state."""

    def __init__(self, module: nn.Module) -> None:
        self._training = [(layer, layer.training) for layer in module.modules()]
        saved = module.state_dict()
        self._buffers = [(b, _to_host(b)) for name, b in module.named_buffers() if name not in saved]
        self._gradients = [(p, None if p.grad is None else _to_host(p.grad)) for p in module.parameters()]

    def put_back(self) -> None:
        for layer, training in self._training:
            layer.training = training
        for buffer, value in self._buffers:
            with torch.no_grad():
                buffer.copy_(value)
        for parameter, gradient in self._gradients:
            parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)


def _copied(tree: Any) -> Any:
    return map_nested(lambda leaf: _to_host(leaf) if isinstance(leaf, Tensor) else copy.deepcopy(leaf), tree)


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _same(one: Any, other: Any) -> bool:
    """Whether two copied states are equal, tensors by their bits: a NaN equals itself."""
    tensors = [list(leaves(tree, Tensor)) for tree in (one, other)]
    return (
        map_nested(_plain, one) == map_nested(_plain, other)
        and len(tensors[0]) == len(tensors[1])
        and all(map(_same_bits, *tensors))
    )


def _plain(leaf: Any) -> Any:
    """What can be compared of a leaf that is no tensor; of an object of somebody's own only its type."""
    return repr(leaf) if isinstance(leaf, bool | int | float | complex | str | bytes | None) else type(leaf)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other)))

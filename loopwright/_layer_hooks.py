"""Functions that are called with what layers compute, as context managers: afterwards nothing of them is left."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import Tensor, nn

from ._errors import ConfigError
from ._names import did_you_mean
from ._nested import leaves, map_nested

Keep = Literal["copy", "shared", "graph"]

_KEEPERS: dict[str, Callable[[Tensor], Tensor]] = {
    "copy": lambda tensor: tensor.detach().clone(),
    "shared": lambda tensor: tensor.detach(),
    "graph": lambda tensor: tensor,
}


@dataclass
class LayerValues:
    """What layers computed while ``record_layers`` was open: by name, one value for each call, the first call first."""

    outputs: dict[str, list[Any]] = field(default_factory=dict)
    gradients: dict[str, list[Tensor]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The output of the last call of a layer."""
        if not self.outputs.get(name):
            hint = did_you_mean(name, self.outputs) or f"there are {', '.join(self.outputs)}"
            raise KeyError(f"{name}: not called" if name in self.outputs else f"{name}: not recorded: {hint}")
        return self.outputs[name][-1]

    def clear(self) -> None:
        """Forget all values, say after each step."""
        for values in (*self.outputs.values(), *self.gradients.values()):
            values.clear()


@contextmanager
def layer_hooks(model: nn.Module, function: Callable[..., Any], *names: str) -> Iterator[list[str]]:
    """Call ``function(name, layer, inputs, output)`` after each call of some layers, while the context is open.

    Args:
        function: what it returns, unless None, takes the place of the output.
        names: dotted names as in ``model.named_modules()``, or shell patterns of them, in which ``*`` stands for dots
            too: ``"layer1.*"``. The model itself is ``""``.

    Yields:
        The names of the layers, in the model's order. Whatever happens inside, the hooks are gone afterwards.

    >>> with layer_hooks(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), print, "1") as layers:
    ...     layers
    ['1']
    """
    found = find_layers(model, names)
    with ExitStack() as stack:
        for name, layer in found.items():
            stack.callback(layer.register_forward_hook(_Named(name, function)).remove)
        yield [*found]


@contextmanager
def record_layers(model: nn.Module, *names: str, keep: Keep = "copy", gradients: bool = False) -> Iterator[LayerValues]:
    """Record the outputs of some layers, and the gradients that reach them, while the context is open.

    Args:
        names: dotted names or shell patterns, as of ``layer_hooks``.
        keep: ``"copy"`` keeps each output as it was; ``"shared"`` takes no memory of its own, so a later layer that works
            in place changes it; ``"graph"`` keeps the very tensor, to compute a loss from.
        gradients: also record the gradient of each output tensor in the backward pass, in the order of that pass.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> with record_layers(model, "0", gradients=True) as seen:
    ...     model(torch.ones(5, 2)).sum().backward()
    >>> seen["0"].shape, seen.gradients["0"][0].shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """
    if keep not in _KEEPERS:
        raise ConfigError(f"keep must be one of {', '.join(map(repr, _KEEPERS))}. Found: {keep!r}")
    recorder = _Recorder(_KEEPERS[keep], gradients)
    with ExitStack() as stack:
        stack.callback(recorder.close)
        for name in stack.enter_context(layer_hooks(model, recorder, *names)):
            recorder.values.outputs[name] = []
            if gradients:
                recorder.values.gradients[name] = []
        yield recorder.values


def find_layers(model: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Module]:
    """The layers that names and patterns stand for; ``ConfigError`` with near names for one that stands for none."""
    layers = dict(model.named_modules())
    if not names:
        raise ConfigError("name the layers, such as 'layer1.*', or '*' for all")
    for name in names:
        if not any(fnmatchcase(layer, name) for layer in layers):
            tops = [layer for layer in layers if layer and "." not in layer]
            hint = did_you_mean(name, layers) or f"at its top are {', '.join(tops)}"
            raise ConfigError(f"the {type(model).__name__} has no layer {name!r}: {hint}")
    return {layer: module for layer, module in layers.items() if any(fnmatchcase(layer, name) for name in names)}


@dataclass
class _Named:
    """A hook that knows the name of its layer."""

    name: str
    function: Callable[..., Any]

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> Any:
        return self.function(self.name, layer, inputs, output)


class _Recorder:
    def __init__(self, keeper: Callable[[Tensor], Tensor], gradients: bool) -> None:
        self.values = LayerValues()
        self._keeper, self._gradients = keeper, gradients
        self._handles: list[Any] = []

    def __call__(self, name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        self.values.outputs[name].append(map_nested(self._keeper, output, Tensor))
        for tensor in leaves(output, Tensor) if self._gradients else ():
            if tensor.requires_grad:
                record = self.values.gradients[name].append
                self._handles.append(tensor.register_hook(lambda gradient, record=record: record(gradient.clone())))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

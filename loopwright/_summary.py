"""``summary``: what a model consists of and costs, found out without changing anything of it.

The model's copy runs on stand-ins for tensors, which have shapes and no memory. Where a model needs values (it looks at
its numbers to decide what to do) it runs itself, and is put back to what it was.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from ._errors import ConfigError
from ._names import did_you_mean
from ._nested import leaves, map_nested
from ._snapshot import Snapshot
from .data._size import shown_size

INDENT = "  "


@dataclass(frozen=True)
class LayerSummary:
    """One layer, with all that is in it."""

    name: str  # dotted; "" is the model itself
    kind: str
    output: Any  # shapes in the containers of the output; None where it was not called
    calls: int
    trained: int  # parameters, each once however many layers share it
    frozen: int
    operations: int  # multiply-accumulates, of all calls
    kept: int  # bytes that stay in memory for the backward pass
    same_as: str | None = None  # the first name of a layer that has several


@dataclass(frozen=True)
class Summary:
    """What ``summary`` gives back: ``print`` shows it as a table."""

    layers: tuple[LayerSummary, ...] = field(repr=False)  # the model first, then as they are nested
    parameter_bytes: int
    trained_bytes: int  # which gradients take once more
    buffer_bytes: int
    batch: int  # length of the first input tensor
    how: str

    @property
    def output(self) -> Any:
        """Shapes in the containers of the model's output."""
        return self.layers[0].output

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return self.layers[0].trained

    @property
    def frozen(self) -> int:
        """Parameters that are not."""
        return self.layers[0].frozen

    @property
    def operations(self) -> int:
        """Multiply-accumulates of one forward pass over the batch."""
        return self.layers[0].operations

    @property
    def kept(self) -> int:
        """Bytes beside the batch and the parameters that the backward pass needs."""
        return self.layers[0].kept

    def __getitem__(self, name: str) -> LayerSummary:
        """A layer by its dotted name; ``KeyError`` with near names where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers if layer.name]
        raise KeyError(f"{name}: no layer has this name: {did_you_mean(name, names) or 'see .layers'}")

    def table(self, depth: int | None = None) -> str:
        """The layers down to a depth, 0 for the model alone, and the sums; ``ConfigError`` for a depth that is none."""
        if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
            raise ConfigError(
                f"depth must be a whole number, 0 for the model alone or more, or None for all layers. Found: {depth!r}"
            )
        shown = [layer for layer in self.layers if depth is None or _depth(layer) <= depth]
        rows = [("layer", "", "output", "parameters", "operations", "kept"), *map(_row, shown)]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = [
            "  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), "", *self._sums()])

    def __str__(self) -> str:
        return self.table()

    def _sums(self) -> Iterator[str]:
        yield f"parameters  {self.trained:,} trained, {self.frozen:,} frozen"
        each = f", {_large(self.operations / self.batch)} a sample" if self.batch > 1 else ""
        yield (
            f"operations  {_large(self.operations)} multiply-accumulates forward{each} "
            "(of convolutions, matrix products and attention)"
        )
        yield (
            f"memory      {shown_size(self.parameter_bytes)} parameters, {shown_size(self.trained_bytes)} gradients, "
            f"{shown_size(self.buffer_bytes)} buffers, {shown_size(self.kept)} kept for backward of a batch of {self.batch}"
        )
        yield f"how         {self.how}"


def summary(model: nn.Module, inputs: Any) -> Summary:
    """Layers, output shapes, parameters, operations and memory of a model; nothing of it is changed.

    Args:
        model: any; it is looked at in the mode that it is in, and hooks that are on it run as in any forward pass.
        inputs: a tensor, or a shape such as ``(1, 3, 224, 224)``; a list of these for ``model(*inputs)``, a dictionary
            for ``model(**inputs)``. What is neither is passed as it is. Shapes stand for the model's own float type; give a
            tensor where it must be another.

    Operations are multiply-accumulates that torch's dispatcher sees (half of the FLOPs of ``torch.utils.flop_counter``):
    convolutions, matrix products, attention, bilinear layers; elementwise work and norms count nothing. Bytes that are
    kept are those of all tensors that autograd saves, each memory once, without parameters, buffers and the inputs.

    Raises:
        ConfigError: the model has lazy layers that have not seen a batch yet.

    >>> print(summary(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (16, 8)))  # doctest: +ELLIPSIS
    layer               output   parameters  operations   kept
    Sequential          (16, 2)          46         640  256 B
      0         Linear  (16, 4)          36         512    0 B
      1         ReLU    (16, 4)           0           0  256 B
      2         Linear  (16, 2)          10         128    0 B
    <BLANKLINE>
    parameters  46 trained, 0 frozen
    ...
    """
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ConfigError("the model has lazy layers without shapes: run one batch through it first")
    try:
        account, batch = _without_memory(model, inputs)
        how = "without computing: on stand-ins that have shapes and no memory"
    except Exception as reason:  # whatever a model may raise when it meets tensors without values
        account, batch = _for_real(model, inputs)
        how = f"computed, since it needs values: {type(reason).__name__}"
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        tuple(_layers(model, account)),
        sum(map(_bytes, parameters)),
        sum(_bytes(p) for p in parameters if p.requires_grad),
        sum(map(_bytes, buffers)),
        batch,
        how,
    )


# ---- running it --------------------------------------------------------------------------------------------------------


def _without_memory(model: nn.Module, inputs: Any) -> tuple["_Account", int]:
    """Run a copy whose tensors are stand-ins: parameters are not copied, and what the copy remembers is its own."""
    stand_ins = FakeTensorMode(allow_non_fake_inputs=True)
    device, dtype = _place(model)
    known: dict[int, Any] = {id(t): _stand_in(stand_ins, t) for t in [*model.parameters(), *model.buffers()]}
    copied = copy.deepcopy(model, known)
    names = {id(layer): name for (name, layer) in copied.named_modules()}
    with stand_ins, _without_complaints():
        given = _made(
            inputs, lambda t: torch.empty_like(t, device=device), lambda s: torch.empty(s, dtype=dtype, device=device)
        )
        return _run(copied, given, names)


@contextmanager
def _without_complaints() -> Iterator[None]:
    """What torch logs when stand-ins do not suffice is no news: the model is run then, and its own error is raised."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _for_real(model: nn.Module, inputs: Any) -> tuple["_Account", int]:
    snapshot = Snapshot([model])
    device, dtype = _place(model)
    try:
        names = {id(layer): name for (name, layer) in model.named_modules()}
        given = _made(inputs, lambda t: t.detach().to(device), lambda s: torch.rand(s, device=device).to(dtype))
        return _run(model, given, names)
    finally:
        snapshot.put_back()


def _run(model: nn.Module, inputs: Any, names: Mapping[int, str]) -> tuple["_Account", int]:
    tensors = list(leaves(inputs, Tensor))
    account = _Account(names, [*model.parameters(), *model.buffers(), *tensors])
    with account.watching(model), torch.enable_grad():
        if isinstance(inputs, Mapping):
            model(**inputs)
        elif isinstance(inputs, list | tuple):
            model(*inputs)
        else:
            model(inputs)
    return account, tensors[0].shape[0] if tensors and tensors[0].ndim else 1


def _place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where its inputs belong, and their type."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors and not tensors[0].is_meta else torch.device("cpu")
    return device, next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def _stand_in(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    if not tensor.is_meta:
        return mode.from_tensor(tensor)
    with mode:
        empty = torch.empty_like(tensor, device="cpu")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _made(tree: Any, tensor: Callable[[Tensor], Tensor], shape: Callable[[list[int]], Tensor]) -> Any:
    """Inputs with a tensor for each tensor and each shape."""
    if isinstance(tree, Tensor):
        return tensor(tree)
    if isinstance(tree, list | tuple) and tree and all(type(size) is int for size in tree):
        return shape([*tree])
    if isinstance(tree, Mapping):
        return {key: _made(value, tensor, shape) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_made(value, tensor, shape) for value in tree]
    return tree


# ---- counting ----------------------------------------------------------------------------------------------------------


# torch's own formulas, as they are in 2.11, count nothing for the CPU and fail where several heads share keys and values.
_FUSED_ATTENTION = (
    torch.ops.aten._scaled_dot_product_flash_attention,
    torch.ops.aten._scaled_dot_product_efficient_attention,
    torch.ops.aten._scaled_dot_product_cudnn_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
)


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Of queries with keys, and of what comes of them with values."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _trilinear_flops(one: Sequence[int], two: Sequence[int], three: Sequence[int], *expanded: Any, **_: Any) -> int:
    """Two a place of the product of the three, as of a matrix product: of ``nn.Bilinear`` each weight counts once a sample.

    Each shape is given without the axes that ``expanded`` lists for it.
    """
    whole = []
    for shape, axes in zip((one, two, three), expanded, strict=False):
        sizes = iter(shape)
        whole.append([1 if axis in axes else next(sizes) for axis in range(len(shape) + len(axes))])
    return 2 * math.prod(map(max, *whole))


_FORMULAS = {torch.ops.aten._trilinear: _trilinear_flops, **dict.fromkeys(_FUSED_ATTENTION, _attention_flops)}


@dataclass
class _Cost:
    output: Any = None
    calls: int = 0
    operations: int = 0
    kept: int = 0


class _Account:
    """What each layer costs: the counters after it less the counters before it."""

    def __init__(self, names: Mapping[int, str], free: list[Tensor]) -> None:
        self.costs = {name: _Cost() for name in names.values()}
        self._names = names
        self._free = {t.untyped_storage()._cdata for t in free}
        self._kept: dict[int, torch.UntypedStorage] = {}  # held, so that no other memory takes the place
        self._kept_bytes = 0
        self._flops = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
        self._open: list[tuple[str, int, int]] = []

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operation, which no counter looks into
        with ExitStack() as stack:
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
            if any(isinstance(layer, nn.RNNBase) for layer in model.modules()):  # the same of recurrent layers
                stack.enter_context(_without_fused_layers())
            for layer in model.modules():
                for handle in (
                    layer.register_forward_pre_hook(self._enter, prepend=True),
                    layer.register_forward_hook(self._leave),
                ):
                    stack.callback(handle.remove)
            stack.enter_context(saved_tensors_hooks(self._save, lambda tensor: tensor))
            stack.enter_context(self._flops)
            try:
                yield
            except Exception as error:
                where = self._open[-1][0] if self._open else ""
                error.add_note(f"summary: in the layer {where!r}" if where else "summary: in the model itself")
                raise

    def _enter(self, layer: nn.Module, _: Any) -> None:
        self._open.append((self._names[id(layer)], self._operations(), self._kept_bytes))

    def _leave(self, layer: nn.Module, _: Any, output: Any) -> None:
        name, operations, kept = self._open.pop()
        cost = self.costs[name]
        cost.output = _shapes(output) if not cost.calls else cost.output
        cost.calls += 1
        cost.operations += self._operations() - operations
        cost.kept += self._kept_bytes - kept

    def _operations(self) -> int:
        return self._flops.get_total_flops() // 2

    def _save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._free and storage._cdata not in self._kept:
            self._kept[storage._cdata] = storage
            self._kept_bytes += storage.nbytes()
        return tensor


@contextmanager
def _without_fused_layers() -> Iterator[None]:
    libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [library.enabled for library in libraries]
    try:
        for library in libraries:
            library.enabled = False
        yield
    finally:
        for library, enabled in zip(libraries, before, strict=True):
            library.enabled = enabled


def _layers(model: nn.Module, account: _Account) -> Iterator[LayerSummary]:
    first: dict[int, str] = {}
    for name, layer in model.named_modules(remove_duplicate=False):
        origin = first.setdefault(id(layer), name)
        cost = account.costs[origin]
        parameters = list(layer.parameters())
        yield LayerSummary(
            name,
            type(layer).__name__,
            cost.output,
            cost.calls,
            sum(p.numel() for p in parameters if p.requires_grad),
            sum(p.numel() for p in parameters if not p.requires_grad),
            cost.operations,
            cost.kept,
            origin if origin != name else None,
        )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _shapes(output: Any) -> Any:
    return map_nested(lambda leaf: tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__, output)


# ---- showing it --------------------------------------------------------------------------------------------------------


def _depth(layer: LayerSummary) -> int:
    return layer.name.count(".") + 1 if layer.name else 0


def _row(layer: LayerSummary) -> tuple[str, str, str, str, str, str]:
    own = layer.name.rpartition(".")[2]
    name, kind = (f"{INDENT * _depth(layer)}{own}", layer.kind) if layer.name else (layer.kind, "")
    if layer.same_as is not None:
        return name, kind, f"is {layer.same_as}", "", "", ""
    if not layer.calls:
        return name, kind, "", f"{layer.trained + layer.frozen:,}", "", ""
    output = _shown(layer.output) + (f", {layer.calls} calls" if layer.calls > 1 else "")
    frozen = " frozen" if layer.frozen and not layer.trained else ""
    parameters = f"{layer.trained + layer.frozen:,}{frozen}"
    return name, kind, output, parameters, _large(layer.operations), shown_size(layer.kept)


def _shown(shapes: Any) -> str:
    if isinstance(shapes, Mapping):
        return f"{{{', '.join(f'{key}: {_shown(value)}' for key, value in shapes.items())}}}"
    if isinstance(shapes, list) or (isinstance(shapes, tuple) and not all(isinstance(n, int) for n in shapes)):
        return ", ".join(map(_shown, shapes))
    return str(shapes)


def _large(number: float) -> str:
    """1,234 and 1.234 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3f} {unit}"
    return f"{number:,.0f}"

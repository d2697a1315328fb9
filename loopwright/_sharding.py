"""``Sharded``: one model of which each rank holds a part of every weight, by torch's FSDP2. Knows nothing of loops.

Source of the method: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023; after
Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020.
"""

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from ._distributed import Position
from ._errors import ConfigError
from ._over_ranks import as_on_rank_0, with_synced_batch_norm
from ._split import Rows, is_split, local, locals_of, split, take_whole

SMALLEST_BLOCK = 100_000  # numbers, about: a message of fewer costs more than it saves
_LISTS = nn.Sequential | nn.ModuleList


class Sharded:
    """Each rank holds 1/n of the weights, gradients and optimizer states, and gathers a block's weights while it is used.

    The gradient is the mean over all samples of a batch, weighed as in ``Replicas``: each rank's counts as its samples
    times the ranks over all samples. It is reduced by every backward pass, also within a group of batches, so that nobody
    ever holds a whole one.
    """

    together = True
    splits = True

    def __init__(self, place: Position, *, sync_batch_norm: bool = False) -> None:
        self._place, self._sync_batch_norm = place, sync_batch_norm
        self._factor = 1.0
        self._mesh: Any = None
        self._models: list[weakref.ref[nn.Module]] = []  # in the order in which every rank prepared them
        self._replaced: dict[int, tuple[weakref.ref[Tensor], nn.Parameter]] = {}  # what optimizers may hold, by id

    # ---- the model -------------------------------------------------------------------------------------------------

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if self._sync_batch_norm:
            model = with_synced_batch_norm(model, device)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        _check(model)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # torch shards onto the present one
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] - its rows must lie together
        with torch.no_grad():  # as rank 0 has it, whatever was drawn here
            for tensor in [*model.parameters(), *model.buffers()]:
                dist.broadcast(tensor.detach(), 0)
        before = dict(model.named_parameters())
        for part in [*blocks_of(model), model]:
            fully_shard(part, mesh=self._mesh_on(device), reshard_after_forward=True)
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.set_custom_reduce_scatter(_Weighed(self))  # type: ignore[arg-type] - it has all that is called
                part.set_gradient_divide_factor(1.0)  # which is done there
                part.set_force_sum_reduction_for_comms(True)
        after = dict(model.named_parameters())
        self._replaced |= {id(old): (weakref.ref(old), after[name]) for name, old in before.items()}
        model.register_forward_pre_hook(self._with_buffers)
        self._models.append(weakref.ref(model))
        return model

    def _mesh_on(self, device: torch.device) -> Any:
        from torch.distributed.device_mesh import init_device_mesh

        if self._mesh is None:
            self._mesh = init_device_mesh(device.type, (self._place.size,))
        return self._mesh

    def _with_buffers(self, model: nn.Module, inputs: Any) -> None:
        """Buffers are rank 0's whenever a training batch goes through, as torch's ``DistributedDataParallel`` has it."""
        if model.training and torch.is_grad_enabled():
            self.same_buffers([model])

    def same_buffers(self, models: Iterable[nn.Module]) -> None:
        as_on_rank_0(buffer for model in models for buffer in model.buffers())

    def release(self) -> None:
        """Nothing holds the models but themselves."""

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, every rank has all weights, and calls of models wait for nobody."""
        from torch.distributed.fsdp import FSDPModule

        models = [model for found in self._models if (model := found()) is not None]
        parts = [part for model in models for part in model.modules() if isinstance(part, FSDPModule)]
        with torch.no_grad():
            for part in parts:
                part.set_reshard_after_forward(False, recurse=False)
                part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.set_reshard_after_forward(True, recurse=False)
                part.reshard()

    def adopt(self, optimizer: Optimizer) -> None:
        """Give an optimizer that was made before ``wrap`` the parameters that took the place of its own.

        Raises:
            ConfigError: it has stepped with them already, or is LBFGS, which needs whole gradients.
        """
        for group in optimizer.param_groups:
            for number, parameter in enumerate(group["params"]):
                old, new = self._replaced.get(id(parameter), (None, None))
                if old is not None and new is not None and old() is parameter:
                    if parameter in optimizer.state:
                        raise ConfigError(
                            f"the {type(optimizer).__name__} has stepped before run.prepare(model) split its weights: "
                            "make it of what run.prepare gives back"
                        )
                    group["params"][number] = new
            if isinstance(optimizer, LBFGS) and any(map(is_split, group["params"])):
                raise ConfigError("LBFGS needs whole gradients, which no rank has with parallel='fsdp': use 'ddp'")

    # ---- gradients -------------------------------------------------------------------------------------------------

    def begin_batch(self, samples: int, whole: int, *, reduces: bool) -> None:
        own, usual = self.share(samples, whole)
        self._factor = own / usual if usual else 1.0

    def share(self, samples: int, whole: int) -> tuple[int, int]:
        return samples * self._place.size, whole

    @contextlib.contextmanager
    def weighed(self) -> Iterator[None]:
        before, self._factor = self._factor, 1.0
        try:
            yield
        finally:
            self._factor = before

    def reduce(self, models: Iterable[nn.Module]) -> None:
        """Every backward pass has done it."""

    def gradients(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        return locals_of(p.grad for p in parameters if p.grad is not None)

    def norm(self, parameters: Sequence[Tensor]) -> Tensor:
        gradients = [p.grad for p in parameters if p.grad is not None]
        parts = [part for part in map(local, filter(is_split, gradients)) if part.numel()]
        others = [gradient for gradient in gradients if not is_split(gradient)]
        device = gradients[0].device if gradients else torch.device("cpu")
        squares = _square(parts, device)
        dist.all_reduce(squares)
        return (squares + _square(others, device)).sqrt().float()

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def take(self, shape: Sequence[int], rows: Rows) -> Tensor:
        """Of a tensor that a checkpoint holds in parts this rank's rows; all where no model is split."""
        return take_whole(shape, rows) if self._mesh is None else split(shape, rows, self._mesh)


# The second is the name before torch 2.13, which warns of it.
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class _Weighed:
    """Sums gradients over ranks, each weighed, and gives each rank its rows of them."""

    def __init__(self, owner: Sharded) -> None:
        self._owner = owner

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        """As torch calls it, by these names; ``op`` is its sum."""
        if self._owner._factor != 1.0:
            input_tensor.mul_(self._owner._factor)
        input_tensor.div_(self._owner._place.size)
        return _reduce_scatter(output_tensor, input_tensor, group=group, async_op=async_op)


def _square(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    norm = nn.utils.get_total_norm(tensors) if tensors else torch.zeros((), device=device)
    return norm.double().square()


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The parts whose weights are gathered one after another: the large items of its lists and sequences, outermost.

    An item that shares weights with the rest stays with the rest.

    >>> model = nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.Sequential(nn.Linear(400, 400), nn.Linear(400, 2)))
    >>> [type(block).__name__ for block in blocks_of(model)]
    ['Linear', 'Linear']
    """
    names: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)] = names.get(id(parameter), 0) + 1

    def own(module: nn.Module) -> bool:
        within = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
        return all(within.count(key) == names[key] for key in set(within))

    def walk(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            is_item = isinstance(module, _LISTS) and not isinstance(child, _LISTS | nn.ModuleDict)
            if not is_item:
                yield from walk(child)
            elif sum(p.numel() for p in child.parameters()) >= SMALLEST_BLOCK and own(child):
                yield child

    return list(dict.fromkeys(walk(model)))


def _check(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise ConfigError(
                f"parallel='fsdp' splits weights by their rows, and {name} is one number without any: give it the shape "
                "(1,), or use parallel='ddp'"
            )

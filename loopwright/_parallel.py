"""``Parallel``: one model on several ranks: its gradients are averaged over all samples, its buffers are rank 0's.

Knows nothing of loops. Source of the method: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
Training", VLDB 2020, whose implementation, torch's, does the work.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ._distributed import Position
from ._errors import ConfigError
from ._over_ranks import as_on_rank_0, with_synced_batch_norm
from ._replica import Replica
from ._sharding import Sharded
from ._split import Rows, take_whole

Kind = Literal["ddp", "fsdp"]  # a whole model on every rank, or a part of it


class Parallel(Protocol):
    """What stands between the loop's batches and the gradients of all ranks."""

    together: bool  # whether other ranks wait for this one's backward pass
    splits: bool  # whether a rank holds a part of each weight only

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model to call."""
        ...

    def begin_batch(self, samples: int, whole: int, *, reduces: bool) -> None:
        """A batch goes to the loop: of its ``whole`` samples this rank has ``samples``; whether its gradients are to be
        reduced by its backward pass."""
        ...

    def share(self, samples: int, whole: int) -> tuple[int, int]:
        """The weight of this rank's part in a mean of means over ranks, and that of a part of the usual size."""
        ...

    def weighed(self) -> contextlib.AbstractContextManager[None]:
        """Inside, a loss is weighed already."""
        ...

    def reduce(self, models: Iterable[nn.Module]) -> None:
        """Average gradients that no backward pass has reduced yet."""
        ...

    def gradients(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """Those that there are, as far as they are here."""
        ...

    def norm(self, parameters: Sequence[Tensor]) -> Tensor:
        """Of the whole gradient."""
        ...

    def same_buffers(self, models: Iterable[nn.Module]) -> None:
        """Give every rank the buffers of rank 0."""
        ...

    def gathered(self) -> contextlib.AbstractContextManager[None]:
        """Inside, models are called by each rank as often as it likes."""
        ...

    def release(self) -> None:
        """Let go of the models: nothing of this is left at their parameters."""
        ...

    def adopt(self, optimizer: Optimizer) -> None:
        """An optimizer is registered: it shall step the parameters that the models have now."""
        ...

    def take(self, shape: Sequence[int], rows: Rows) -> Tensor:
        """Of a tensor that a checkpoint holds in parts what this rank wants of it."""
        ...


class _Whole:
    """What is the same wherever each rank has all of the model."""

    splits = False

    def gradients(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        return [p.grad for p in parameters if p.grad is not None]

    def norm(self, parameters: Sequence[Tensor]) -> Tensor:
        return nn.utils.get_total_norm(self.gradients(parameters))

    def gathered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def adopt(self, optimizer: Optimizer) -> None:
        pass

    def take(self, shape: Sequence[int], rows: Rows) -> Tensor:
        return take_whole(shape, rows)


class NotParallel(_Whole):
    """One process."""

    together = False

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        return model

    def begin_batch(self, samples: int, whole: int, *, reduces: bool) -> None:
        pass

    def share(self, samples: int, whole: int) -> tuple[int, int]:
        return samples, whole

    def weighed(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def reduce(self, models: Iterable[nn.Module]) -> None:
        pass

    def same_buffers(self, models: Iterable[nn.Module]) -> None:
        pass

    def release(self) -> None:
        pass


class Replicas(_Whole):
    """A copy of each model on every rank: torch's ``DistributedDataParallel``, made to weigh short batches right.

    The gradient is the mean over all samples of a batch, also where ranks have different numbers of them: each rank's
    counts as its samples times the ranks over all samples, which is 1 where they have equal ones.
    """

    together = True

    def __init__(self, place: Position, *, sync_batch_norm: bool = False) -> None:
        self._place, self._sync_batch_norm = place, sync_batch_norm
        self._factor = 1.0
        self._reduces = True
        self._left = False  # whether gradients are there that were not reduced
        self._replicas: list[Replica] = []

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if self._sync_batch_norm:
            model = with_synced_batch_norm(model, device)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        replica = Replica(model, device)
        self._replicas.append(replica)
        return replica

    def begin_batch(self, samples: int, whole: int, *, reduces: bool) -> None:
        own, usual = self.share(samples, whole)
        self._factor, self._reduces = own / usual if usual else 1.0, reduces
        self._left = self._left or not reduces
        for replica in self._replicas:
            if replica.require_backward_grad_sync is not reduces:  # to set what a module has takes ten times as long
                replica.require_backward_grad_sync = reduces
            replica.weigh(self._weighed if self._factor != 1.0 else None)

    def share(self, samples: int, whole: int) -> tuple[int, int]:
        return samples * self._place.size, whole

    @contextlib.contextmanager
    def weighed(self) -> Iterator[None]:
        before, self._factor = self._factor, 1.0
        try:
            yield
        finally:
            self._factor = before
            if self._reduces:
                self._left = False

    def reduce(self, models: Iterable[nn.Module]) -> None:
        for replica in self._replicas:
            replica.check_reduced()
        if not self._left:
            return
        self._left = False
        for model in models:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self._place.size)
                    dist.all_reduce(parameter.grad)

    def same_buffers(self, models: Iterable[nn.Module]) -> None:
        as_on_rank_0(buffer for model in models for buffer in model.buffers())

    def release(self) -> None:
        for replica in self._replicas:
            replica.release()
        self._replicas.clear()

    def _weighed(self, gradient: Tensor) -> Tensor:
        """Of a parameter, from the present batch."""
        return gradient if self._factor == 1.0 else gradient * self._factor


def parallel_of(place: Position, kind: Kind = "ddp", *, sync_batch_norm: bool = False) -> Parallel:
    """How a model is trained where so many processes are."""
    if kind not in get_args(Kind):
        raise ConfigError(f"parallel must be one of {', '.join(map(repr, get_args(Kind)))}. Found: {kind!r}")
    if place.size == 1:
        return NotParallel()
    return (Replicas if kind == "ddp" else Sharded)(place, sync_batch_norm=sync_batch_norm)

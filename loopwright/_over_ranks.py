"""What is to be the same on all ranks, or the sum over them. Where there is one process, nothing is exchanged."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ._errors import ConfigError


def several() -> bool:
    """Whether other ranks take part."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def as_on_rank_0(tensors: Iterable[Tensor]) -> None:
    """Give them rank 0's values, on every rank. All ranks call it, for as many tensors."""
    if several():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def summed(tensor: Tensor) -> Tensor:
    """The sum over the ranks, in place: the same bits on each of them."""
    if several():
        dist.all_reduce(tensor)
    return tensor


def with_synced_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norms that measure the batches of all ranks; ``ConfigError`` where torch has none."""
    if device.type == "cpu":
        raise ConfigError("sync_batch_norm=True: torch has it for GPUs only; leave it out on the CPU")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)

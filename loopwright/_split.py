"""Tensors that are split over ranks by their rows, torch's ``DTensor``: which are, this rank's part, and their rows.

Rank r of n has the r-th of ``ceil(rows / n)`` rows each; the last ranks may have fewer, or none. Where no tensor was ever
split, nothing of torch's distributed tensors is imported.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

_MODULE = "torch.distributed.tensor"

Rows = Callable[[int, int], Tensor]  # from a first row and an end to these rows
Take = Callable[[Sequence[int], Rows], Tensor]  # from the shape of a whole tensor and its rows to what is wanted of it


def is_split(value: Any) -> bool:
    """Whether it is a tensor of which each rank holds a part."""
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(value, getattr(module, "DTensor", ()))


def local(tensor: Any) -> Tensor:
    """This rank's part of a split tensor, on the same memory; any other tensor itself."""
    if not is_split(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def locals_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The same of several."""
    return list(map(local, tensors))


def rows_of(rows: int, ranks: int, rank: int) -> tuple[int, int]:
    """The first row of a rank's part, and its end.

    >>> [rows_of(5, 4, rank) for rank in range(4)]
    [(0, 2), (2, 4), (4, 5), (5, 5)]
    """
    each = -(-rows // ranks)
    return min(each * rank, rows), min(each * (rank + 1), rows)


def whole(tensor: Any) -> Tensor:
    """All of a split tensor, for which all ranks have to ask; any other tensor itself."""
    return tensor.full_tensor() if is_split(tensor) else tensor


def split(shape: Sequence[int], rows: Rows, mesh: Any) -> Tensor:
    """A split tensor of so many numbers, of which this rank reads its rows alone. Nobody waits for anybody."""
    from torch.distributed.tensor import DTensor, Shard

    own = rows(*rows_of(shape[0], mesh.size(), mesh.get_local_rank()))
    strides = [1]
    for length in reversed(shape[1:]):
        strides.insert(0, strides[0] * max(length, 1))
    part = own.detach().contiguous().to(mesh.device_type)
    return DTensor.from_local(part, mesh, (Shard(0),), shape=torch.Size(shape), stride=tuple(strides))


def alike(own: Any, given: Any) -> Any:
    """What is given, split as its own is, or whole where that is whole."""
    if is_split(own) == is_split(given) or not isinstance(given, Tensor):
        return given
    if is_split(given):
        return whole(given)
    return split(given.shape, lambda first, end: given[first:end].clone(), own.device_mesh)


def check_by_rows(tensor: Any) -> None:
    """``ValueError`` for a tensor that is split otherwise than by its rows over all ranks."""
    placements = tensor.placements
    if len(placements) != 1 or not placements[0].is_shard(0):
        raise ValueError(f"it is split as {placements}, not by its rows over all ranks")


def take_whole(shape: Sequence[int], rows: Rows) -> Tensor:
    """All rows."""
    return rows(0, shape[0])

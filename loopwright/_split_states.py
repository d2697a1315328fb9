"""States with split tensors, as files: one with everything but these, and one a rank with its parts. Reads no files itself.

Each leaf of a state has a number, in their order. The first file holds the state with None in place of a split tensor, and
the shape and type of each under its number; the file of a rank holds its parts by the same numbers.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._nested import leaves, map_nested
from ._split import Take, check_by_rows, is_split, local, rows_of

Plan = dict[int, tuple[list[int], torch.dtype]]  # a leaf's number: the shape and type of the whole


class Apart(NamedTuple):
    """A state as its files hold it."""

    tree: Any
    plan: Plan
    parts: dict[int, Tensor]  # this rank's


def plan_of(state: Any) -> Plan:
    """Which of its tensors are split; ``ValueError`` for one that is not split by its rows."""
    plan: Plan = {}
    for number, leaf in enumerate(leaves(state)):
        if is_split(leaf):
            check_by_rows(leaf)
            plan[number] = list(leaf.shape), leaf.dtype
    return plan


def local_state(state: Any) -> Any:
    """The same with this rank's parts."""
    return map_nested(_compact, state)


def _compact(leaf: Any) -> Any:
    """The part without the rows that torch adds so that all parts are of one size."""
    if not is_split(leaf):
        return leaf
    part = local(leaf).detach()
    return part if part.untyped_storage().nbytes() == part.nbytes else part.clone()


def apart(state: Any, plan: Plan) -> Apart:
    """Take this rank's parts out of a state that ``local_state`` made."""
    parts = {number: leaf for number, leaf in enumerate(leaves(state)) if number in plan}
    numbers = itertools.count()
    return Apart(map_nested(lambda leaf: None if next(numbers) in plan else leaf, state), plan, parts)


def joined(
    tree: Any, plan: Mapping[int, Any], ranks: int, read: Callable[[int], Mapping[int, Tensor]], take: Take
) -> Any:
    """The state, from its first file and those of so many ranks, of which only those are read that are needed.

    Args:
        read: the parts of a rank.
        take: makes of a whole tensor's rows what is wanted of it.

    Raises:
        ValueError, KeyError, TypeError: the files do not fit together.
    """
    held = functools.cache(read)
    numbers = itertools.count()

    def put(leaf: Any) -> Any:
        number = next(numbers)
        if number not in plan:
            return leaf
        shape, dtype = plan[number]
        return take(shape, lambda first, end: _rows(number, shape, dtype, ranks, held, first, end))

    return map_nested(put, tree)


def _rows(
    number: int, shape: list[int], dtype: torch.dtype, ranks: int, read: Callable[[int], Mapping[int, Tensor]],
    first: int, end: int,
) -> Tensor:  # fmt: skip
    found = []
    for rank in range(ranks):
        begins, ends = rows_of(shape[0], ranks, rank)
        if max(first, begins) < min(end, ends):
            part = read(rank)[number]
            if part.shape != (ends - begins, *shape[1:]) or part.dtype != dtype:
                raise ValueError(f"the part of rank {rank} is {tuple(part.shape)} of {part.dtype}")
            found.append(part[max(first, begins) - begins : min(end, ends) - begins])
    return torch.cat(found) if found else torch.empty((0, *shape[1:]), dtype=dtype)

"""``Feeder``: batches moved to the device and normalised, ahead of use where that changes nothing. Counts no steps."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ._device import Compute
from ._nested import leaves, map_nested
from .data._normalize import Normalize, NormalizeRoles
from .data._slice import WHOLE, Slice
from .data._source import Batch, Source


class Feeder:
    """Reads a source for the loop, on one device.

    Where reading draws nothing from this process's generators, one batch is prepared ahead, so that a GPU copies it
    while it computes on the one before. Elsewhere a batch is read when it is asked for: reading it earlier would change
    the numbers that the step before it draws, and a resumed run could not repeat that.

    Args:
        part: of each batch, what this process takes of it.
    """

    def __init__(self, compute: Compute, part: Slice = WHOLE) -> None:
        self._compute, self._part = compute, part
        self.normalize: Normalize | NormalizeRoles | None = None  # what the newest batches went through
        self._is_new = False  # whether the first batch of a loop is still to come
        self._side = torch.cuda.Stream(compute.device) if compute.device.type == "cuda" else None

    def feed(self, source: Source, epoch: int, seed: int, drawn: int) -> Iterator[Batch]:
        """The batches of an epoch from a place on."""
        batches = source.open(epoch, seed, drawn, self._part)
        self._is_new = True
        if self._part.ranks > 1 and not source.takes_parts:
            batches = (_cut(batch, self._part) for batch in batches)
        if not source.draws_here:
            return self._ahead(batches, source)
        if self._compute.device.type == "cpu" and source.normalize is None:
            self.normalize = None
            return batches  # there is nothing to prepare
        return (batch._replace(data=self._prepare(batch.data, source)()) for batch in batches)

    def state_dict(self) -> dict[str, Any]:
        """What the newest batches went through: a resumed run may be asked before it has had one."""
        known = self.normalize
        if isinstance(known, NormalizeRoles):
            return {"parts": {name: _plain(part) for name, part in known.roles.items()}}
        return {"all": _plain(known)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "parts" in state:
            self.normalize = NormalizeRoles({name: _normalize(part) for name, part in state["parts"].items()})
        else:
            self.normalize = _normalize(state["all"])

    def _ahead(self, batches: Iterator[Batch], source: Source) -> Iterator[Batch]:
        prepared = ((self._prepare(batch.data, source), batch) for batch in batches)
        ahead = next(prepared, None)
        while ahead is not None:
            (take, batch), ahead = ahead, next(prepared, None)
            yield batch._replace(data=take(), last=ahead is None)

    def _prepare(self, data: Any, source: Source) -> Callable[[], Any]:
        """Start moving a batch; the function that is returned gives it to the loop."""
        if self._side is None:
            ready = self._moved(data, source)
            return lambda: ready
        with torch.cuda.stream(self._side):
            ready = self._moved(data, source)
            done = self._side.record_event()
        return lambda: self._handed_over(ready, done)

    def _moved(self, data: Any, source: Source) -> Any:
        moved = self._compute.move(data)
        if self._is_new:  # floats pass a Normalize unchanged
            self._is_new = False
            self.normalize = source.normalize if any(_is_bytes(part) for part in leaves(moved, Tensor)) else None
        return moved if source.normalize is None else source.normalize(moved)

    def _handed_over(self, ready: Any, done: Any) -> Any:
        here = torch.cuda.current_stream(self._compute.device)
        here.wait_event(done)
        for tensor in leaves(ready, Tensor):
            if tensor.is_cuda:
                tensor.record_stream(here)  # its memory was taken on the side stream: not to be reused too early
        return ready


def _plain(normalize: Any) -> list[list[float]] | None:
    return [list(normalize.mean), list(normalize.std)] if isinstance(normalize, Normalize) else None


def _normalize(plain: list[list[float]] | None) -> Normalize | None:
    return None if plain is None else Normalize(*plain)


def _is_bytes(tensor: Tensor) -> bool:
    return tensor.dtype == torch.uint8 and tensor.ndim == 4


def _cut(batch: Batch, part: Slice) -> Batch:
    """A rank's part of a batch that was made whole; where it is empty, the first sample, which nobody counts."""
    first, end = part.of(batch.samples)
    rows = slice(first, max(end, first + 1))

    def rows_of(value: Any) -> Any:
        return value[rows] if value.ndim and len(value) == batch.samples else value

    return batch._replace(data=map_nested(rows_of, batch.data, Tensor), samples=end - first)

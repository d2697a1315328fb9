"""``fit_batch``: the largest batch that trains on this device. It tries, it does not guess; and it leaves no trace."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ._device import choose_compute
from ._errors import ConfigError
from ._gauge import Gauge, open_gauge
from ._memory import MARGIN, is_out_of_memory
from ._snapshot import Snapshot
from .data._size import parse_size, shown_size

STEPS = 2  # of each size: the first makes the optimizer's states, the second has them beside its activations
MOST = 2**16
GRAIN, LARGE = 8, 32  # large batches are multiples of the grain, which suits the kernels


class Tried(NamedTuple):
    """One batch size that was trained."""

    batch: int
    bytes: int  # the most that was held at once
    ok: bool  # whether that left the margin


@dataclass(frozen=True)
class BatchFit:
    """The largest batch that trains with a margin, and how that was found."""

    batch_size: int
    peak_bytes: int  # the most that it held at once
    limit_bytes: int  # what this process can have
    margin: float  # the share that was to stay free
    tried: list[Tried]  # in the order of trying

    def __str__(self) -> str:
        free = max(0.0, 1 - self.peak_bytes / self.limit_bytes)
        too_large = ", ".join(str(t.batch) for t in sorted(self.tried) if not t.ok)
        return (
            f"a batch of {self.batch_size} takes {shown_size(self.peak_bytes)} of {shown_size(self.limit_bytes)}: "
            f"{free:.0%} stay free, at least {self.margin:.0%} were to. {len(self.tried)} sizes tried"
            + (f"; too large: {too_large}" if too_large else "; none was too large")
        )


def fit_batch(
    trial: Callable[[int], Any],
    *,
    start: int = 1,
    most: int | None = None,
    margin: float = MARGIN,
    device: str | torch.device | None = None,
    memory_limit: int | str | None = None,
    restore: Any = (),
    on_trial: Callable[[Tried], Any] | None = None,
) -> BatchFit:
    """The largest batch that trains on a device, found by training: doubled until it is too large, then bisected.

    Sizes of 32 and more are multiples of 8. A size fits if it raises no error about memory and its peak leaves the
    margin. Each is tried twice over, because the optimizer's states are there from the second step on only.

    On a GPU the peak is all that torch has taken of it. On the CPU running out is no error, the system kills the process:
    there the peak is what the process grew by, and a size that is predicted not to fit by those before it is not tried.

    Args:
        trial: ``trial(batch_size)`` makes a batch of that size, on the device, and trains on it: forward, backward,
            optimizer step, gradients cleared. What it returns is dropped.
        start: the first size. Where there is batch normalisation over one pixel, 2: it needs more than one value.
        most: the largest size that is of use, such as ``len(dataset)``. Default: 65536.
        margin: share of the memory that stays free, 0 or more and below 1.
        device: whose memory is measured, cuda or cpu. Default: the GPU where there is one.
        memory_limit: bytes, or a text such as ``"4 GiB"``: count on no more than this. Default: what is there.
        restore: what the trial changes: a model, optimizer, scheduler, scaler, or several of them; anything with
            ``state_dict`` and ``load_state_dict``. After each size they are what they were before, bit for bit, and so
            are gradients and the global random generators, also after an error.
        on_trial: told of each size as it is tried.

    Raises:
        ConfigError: not even ``start`` fits, an argument is out of range, or the device cannot be measured. What else
            the trial raises comes through, with a note of the batch size.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> def trial(batch):
    ...     (torch.ones(batch, 1) * weight).sum().backward()
    ...     if batch > 6:
    ...         raise torch.OutOfMemoryError("as a GPU would")
    >>> found = fit_batch(trial, device="cpu")
    >>> found.batch_size, [t.batch for t in found.tried]
    (5, [1, 2, 4, 8, 6, 7, 5])
    """
    if start < 1 or (most is not None and most < start):
        raise ConfigError(f"start must be 1 or more, and most no less. Found: start={start}, most={most}")
    if not 0 <= margin < 1:
        raise ConfigError(f"margin must be 0 or more and below 1. Found: {margin}")
    limit = math.inf if memory_limit is None else parse_size(memory_limit, "memory_limit")
    if not limit:
        raise ConfigError(f"memory_limit must be above 0. Found: {memory_limit!r}")
    chosen = choose_compute("auto" if device is None else device).device
    gauge = open_gauge(chosen)  # before the generators are captured: a GPU has its own once it is used
    objects = list(restore) if isinstance(restore, Iterable) and not hasattr(restore, "state_dict") else [restore]
    snapshot = Snapshot(objects)
    try:
        return _Search(trial, gauge, snapshot, limit, margin, on_trial).run(start, MOST if most is None else most)
    finally:
        gauge.clean()
        snapshot.put_back()
        snapshot.check()


class _Search:
    """Tries sizes and remembers what they took."""

    def __init__(
        self,
        trial: Callable[[int], Any],
        gauge: Gauge,
        snapshot: Snapshot,
        limit: float,
        margin: float,
        on_trial: Callable[[Tried], Any] | None,
    ) -> None:
        self._trial, self._gauge, self._snapshot = trial, gauge, snapshot
        self._margin, self._on_trial = margin, on_trial
        gauge.clean()
        self._limit = min(limit, gauge.limit())
        self._tried: dict[int, Tried] = {}
        self._raised: set[int] = set()

    def run(self, start: int, most: int) -> BatchFit:
        if not self._fits(start):
            raise ConfigError(self._too_large(start))
        if self._gauge.kills and start < most:
            self._fits(min(most, next_size(start, start // 8)))  # little more: two sizes tell what a sample takes
        best, failed = largest(self._fits, start, most)
        while failed is not None and failed not in self._tried and self._fits(failed):  # predicted better by now
            best, failed = largest(self._fits, failed, most)
        if failed in self._raised and not self._explained(best, failed):
            best = self._below(max(start, even(int((1 - self._margin) * best))))
        return BatchFit(best, self._tried[best].bytes, int(self._limit), self._margin, list(self._tried.values()))

    def _fits(self, batch: int) -> bool:
        if batch in self._tried:
            return self._tried[batch].ok
        if self._predicted(batch) > self._room:
            return False
        self._gauge.start()
        raised = self._runs_out(batch)
        peak = self._gauge.peak()
        self._gauge.clean()
        self._limit = min(self._limit, self._gauge.limit())  # others may take some meanwhile
        self._snapshot.put_back()
        tried = self._tried[batch] = Tried(batch, peak, not raised and peak <= self._room)
        if raised:
            self._raised.add(batch)
        if self._on_trial is not None:
            self._on_trial(tried)
        return tried.ok

    def _runs_out(self, batch: int) -> bool:
        """Whether memory runs out. The error ends here: its traceback holds all that the step has made."""
        try:
            for _ in range(STEPS):
                self._trial(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                error.add_note(
                    f"fit_batch: this is what the trial of a batch of {batch} raised; sizes go by start=, most="
                )
                raise
            return True
        return False

    @property
    def _room(self) -> float:
        return (1 - self._margin) * self._limit

    def _predicted(self, batch: int) -> float:
        """What a size will take where taking too much would kill, by the line through the two largest that were tried."""
        done = sorted(t for t in self._tried.values() if t.batch not in self._raised)[-2:]
        if not self._gauge.kills or len(done) < 2:
            return 0
        (one, less, _), (other, more, _) = done
        return more + max(0, more - less) / (other - one) * (batch - other)

    def _explained(self, best: int, failed: int) -> bool:
        """Whether what was measured can be what ran out. If not, it was another memory, whose margin nobody measured."""
        return self._tried[best].bytes * failed / best >= self._limit

    def _below(self, batch: int) -> int:
        """The largest size up to this one that trained; this one, if it does."""
        self._fits(batch)
        return max(t.batch for t in self._tried.values() if t.ok and t.batch <= batch)

    def _too_large(self, start: int) -> str:
        took = self._tried[start].bytes
        return (
            f"not even a batch of {start} trains: it takes {shown_size(took)} or more, and with a margin of "
            f"{self._margin:.0%} there are {shown_size(self._room)} of {shown_size(self._limit)}. Try "
            + ("a smaller start, " if start > 1 else "")
            + "smaller pictures, a smaller model, bf16, or an optimizer with less state"
        )


def largest(fits: Callable[[int], bool], start: int, most: int) -> tuple[int, int | None]:
    """The largest size that fits, and the smallest seen that does not, of a start that does.

    >>> largest(lambda batch: batch <= 100, 1, 1000)
    (96, 104)
    """
    best, failed = start, None
    while failed is None:
        following = even(min(2 * best, most))
        if following <= best:
            return best, None
        if fits(following):
            best = following
        else:
            failed = following
    while (middle := next_size(best, (failed - best) // 2)) < failed:
        if fits(middle):
            best = middle
        else:
            failed = middle
    return best, failed


def even(batch: int) -> int:
    """The size itself if it is small, else the multiple of the grain below it."""
    return batch if batch < LARGE else batch - batch % GRAIN


def next_size(batch: int, more: int) -> int:
    """About so many more, at least the next size."""
    following = batch + 1 if batch < LARGE else even(batch) + GRAIN
    return max(even(batch + more), following)

"""Means of logged values, by name. Values stay where they are (no device waits) until they are read.

Sums are Python floats added one after the other, so reading earlier or later, as a save does, changes no bit of them.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ._distributed import Answer, OneRank, Ranks
from ._errors import ConfigError

Hear = Callable[[str, Sequence[int], Sequence[float]], Sequence[bool] | None]


@dataclass
class _Mean:
    """Weighted sum of one name since some moment."""

    weight: float = 0.0
    total: float = 0.0

    def add(self, values: Sequence[float], weights: Sequence[float]) -> None:
        weight_sum, total = self.weight, self.total
        for value, weight in zip(values, weights, strict=True):
            weight_sum += weight
            total += value * weight
        self.weight, self.total = weight_sum, total

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    def plus(self, other: "_Mean") -> "_Mean":
        """The sum over this one's values and another's."""
        return _Mean(self.weight + other.weight, self.total + other.total)


@dataclass
class _Spread(_Mean):
    """The same, with what deviation and extremes need."""

    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: Sequence[float], weights: Sequence[float]) -> None:
        super().add(values, weights)
        squares, low, high = self.squares, self.low, self.high
        for value, weight in zip(values, weights, strict=True):
            squares += value * value * weight
            # Written so that a NaN shows up, whichever comes first.
            low = value if not value >= low else low
            high = value if not value <= high else high
        self.squares, self.low, self.high = squares, low, high

    def plus(self, other: "_Spread") -> "_Spread":  # type: ignore[override] - spreads are added to spreads
        low = self.low if not other.low < self.low and not math.isnan(other.low) else other.low
        high = self.high if not other.high > self.high and not math.isnan(other.high) else other.high
        squares = self.squares + other.squares
        return _Spread(self.weight + other.weight, self.total + other.total, squares, low, high)

    @property
    def std(self) -> float:
        if not self.weight:
            return math.nan
        variance = self.squares / self.weight - self.mean**2
        return math.sqrt(variance) if variance > 0 else variance * 0.0  # rounding below 0 is 0, NaN stays NaN


_Sums = TypeVar("_Sums", bound=_Mean)


@dataclass
class Meter:
    """One logged name: what is not read yet, and its sums over the report interval and over the phase."""

    pending: list[Any] = field(default_factory=list)  # numbers, and tensors of one element that are on a device
    weights: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)  # at which they were logged
    interval: _Mean = field(default_factory=_Mean)
    phase: _Spread = field(default_factory=_Spread)

    def read(self, hear: Callable[[Sequence[int], Sequence[float]], Sequence[bool] | None]) -> None:
        """Bring pending values to the host, one transfer for all of them, and add those that count in their order."""
        if not self.pending:
            return
        values, weights = _on_host(self.pending), self.weights
        counts = hear(self.steps, values)
        if counts is not None:
            values, weights = [*itertools.compress(values, counts)], [*itertools.compress(weights, counts)]
        self.interval.add(values, weights)
        self.phase.add(values, weights)
        self.pending.clear()
        self.weights.clear()
        self.steps.clear()


class Meters:
    """All names of one phase (training or one evaluation).

    Args:
        takes_objects: whether metric objects may be logged.
        hear: told of all values of a name, with their steps, when they are read; says which of them count, None for all.
        alarm: called when a value that is not finite is logged, where that shows without waiting for a device.
        ranks: with whom sums are put together, in their order.
    """

    def __init__(
        self,
        *,
        takes_objects: bool,
        hear: Hear = lambda *_: None,
        alarm: Callable[[], object] = lambda: None,
        ranks: Ranks | None = None,
    ) -> None:
        self._meters: dict[str, Meter] = {}
        self._objects: dict[str, Any] = {}
        self._takes_objects, self._hear, self._alarm = takes_objects, hear, alarm
        self._ranks: Ranks = ranks or OneRank()

    def log(self, values: Mapping[str, Any], weight: float, step: int = 0) -> None:
        """Take one value of each name: a number, a tensor of one element, one number a sample (N,), or a metric object.

        A metric object has ``compute`` and ``reset`` (torchmetrics' have); it is read when the phase ends.
        """
        for name, value in values.items():
            meter = self._meters.get(name)
            if meter is None:
                if hasattr(value, "compute") and hasattr(value, "reset"):
                    self._log_object(name, value)
                    continue
                meter = self._meters[name] = Meter()
            weighs = weight
            if not isinstance(value, Tensor):
                value = _number(name, value)
            else:
                if value.ndim:
                    value, weighs = _reduced(name, value, weight)
                # Its value now: the caller may change the tensor in place, or a captured graph write over it.
                value = value.item() if value.is_cpu else value.detach().clone()
            if type(value) is float and value - value != 0.0:  # NaN or infinite
                self._alarm()
            meter.pending.append(value)
            meter.weights.append(weighs)
            meter.steps.append(step)

    def _log_object(self, name: str, metric: Any) -> None:
        if not self._takes_objects:
            raise ConfigError(
                f"log({name}=...): a {type(metric).__name__} keeps a state of its own, which a checkpoint in mid-epoch "
                "would lose. In training log its value for the batch, and the object itself inside run.evaluate"
            )
        self._objects[name] = metric

    def read(self) -> None:
        """Add up what is pending."""
        for name, meter in self._meters.items():
            meter.read(functools.partial(self._hear, name))

    def pending(self) -> dict[str, list[float]]:
        """What was logged and is not read yet."""
        return {name: list(_on_host(meter.pending)) for name, meter in self._meters.items() if meter.pending}

    def interval(self) -> "Means":
        """Means since the last call, over all ranks."""
        self.read()
        sums = {name: meter.interval for name, meter in self._meters.items() if meter.interval.weight}
        for name in sums:
            self._meters[name].interval = _Mean()
        return Means(self._ranks.ask(sums))

    def peek(self) -> dict[str, float]:
        """Means over the phase so far, of this rank, without ending anything."""
        return {name: phase.mean for name, phase in self._phases().items()}

    def so_far(self) -> dict[str, float]:
        """The same over all ranks, which all have to ask."""
        return {name: phase.mean for name, phase in _together(self._ranks.gather(self._phases())).items()}

    def _phases(self) -> dict[str, _Spread]:
        self.read()
        return {name: meter.phase for name, meter in self._meters.items() if meter.phase.weight}

    def close(self) -> tuple[dict[str, float], dict[str, float]]:
        """Means over the phase, and their spread (``NAME.std``, ``.min``, ``.max``), over all ranks; then a fresh start."""
        means, spread = {}, {}
        self.read()
        phases = {name: meter.phase for name, meter in self._meters.items()}
        for name, sums in _together(self._ranks.gather(phases)).items():
            means[name] = sums.mean
            spread |= {f"{name}.std": sums.std, f"{name}.min": sums.low, f"{name}.max": sums.high}
        for name, metric in self._objects.items():
            if hasattr(metric, "gather"):  # torchmetrics' gather by themselves
                metric.gather(self._ranks.gather)
            means |= _computed(name, metric.compute())
            metric.reset()
        self._meters.clear()
        self._objects.clear()
        return means, spread

    def state_dict(self) -> dict[str, Any]:
        self.read()
        return {name: [asdict(meter.interval), asdict(meter.phase)] for name, meter in self._meters.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._meters = {
            name: Meter(interval=_Mean(**interval), phase=_Spread(**phase)) for name, (interval, phase) in state.items()
        }
        self._objects.clear()


class Means:
    """Means over all ranks, as soon as their sums are here."""

    def __init__(self, sums: Answer[Mapping[str, _Mean]]) -> None:
        self._sums = sums

    @property
    def are_here(self) -> bool:
        """Whether to read them waits for nobody."""
        return self._sums.is_here

    def read(self) -> dict[str, float]:
        return {name: mean.mean for name, mean in _together(self._sums.get()).items()}


def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The states of several ranks' meters as one rank's."""
    intervals = [{name: _Mean(**pair[0]) for name, pair in state.items()} for state in states]
    phases = [{name: _Spread(**pair[1]) for name, pair in state.items()} for state in states]
    interval, phase = _together(intervals), _together(phases)
    return {name: [asdict(interval[name]), asdict(phase[name])] for name in phase}


def _together(ranks: Sequence[Mapping[str, _Sums]]) -> Mapping[str, _Sums]:
    """The sums of several ranks, added up in their order; of one, they themselves."""
    if len(ranks) == 1:
        return ranks[0]
    total: dict[str, _Sums] = {}
    for sums in ranks:
        for name, one in sums.items():
            total[name] = one if name not in total else cast(_Sums, total[name].plus(one))
    return total


def _on_host(pending: list[Any]) -> list[float]:
    """Numbers as they are; all tensors of one device in one transfer."""
    if set(map(type, pending)) <= {float}:
        return pending
    places: dict[torch.device, list[int]] = {}
    for index, value in enumerate(pending):
        if isinstance(value, Tensor):
            places.setdefault(value.device, []).append(index)
    values = list(pending)
    for indices in places.values():
        for index, value in zip(indices, torch.stack([pending[i] for i in indices]).tolist(), strict=True):
            values[index] = value
    return values


def _reduced(name: str, value: Tensor, weight: float) -> tuple[Tensor, float]:
    """A scalar of a tensor that is none, and what it weighs."""
    if value.numel() == 1:
        return value.reshape(()), weight
    if value.ndim != 1 or value.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}: log one number, or one number a sample (N,); reduce it first"
        )
    return value.detach().float().mean(), float(value.numel())


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a {type(value).__name__}: log numbers, tensors, or metric objects") from None


def _computed(name: str, result: Any) -> dict[str, float]:
    """The scalars of what a metric computed; a matrix or a list has no place in a line of numbers."""
    if isinstance(result, Mapping):
        return {f"{name}/{key}": float(v) for key, v in result.items() if not isinstance(v, Tensor) or v.numel() == 1}
    if isinstance(result, Tensor) and result.numel() > 1:
        return {f"{name}/{index}": float(v) for index, v in enumerate(result.flatten())} if result.ndim == 1 else {}
    return {name: float(result)}

"""Means of logged values, by name. Values stay where they are (no device waits) until they are read.

Sums are Python floats added one after the other, so reading earlier or later, as a save does, changes no bit of them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ._errors import ConfigError


@dataclass
class _Sums:
    """Weighted sums of one name since some moment."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float, weight: float) -> None:
        self.weight += weight
        self.total += value * weight
        self.squares += value * value * weight
        # Written so that a NaN shows up, whichever comes first.
        self.low = value if not value >= self.low else self.low
        self.high = value if not value <= self.high else self.high

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    @property
    def std(self) -> float:
        if not self.weight:
            return math.nan
        variance = self.squares / self.weight - self.mean**2
        return math.sqrt(variance) if variance > 0 else variance * 0.0  # rounding below 0 is 0, NaN stays NaN


@dataclass
class Meter:
    """One logged name: what is not read yet, and its sums over the report interval and over the phase."""

    pending: list[Any] = field(default_factory=list)  # numbers, and tensors of one element that are on a device
    weights: list[float] = field(default_factory=list)
    interval: _Sums = field(default_factory=_Sums)
    phase: _Sums = field(default_factory=_Sums)

    def read(self) -> None:
        """Bring pending values to the host, one transfer for all of them, and add them up in their order."""
        for value, weight in zip(_on_host(self.pending), self.weights, strict=True):
            self.interval.add(value, weight)
            self.phase.add(value, weight)
        self.pending.clear()
        self.weights.clear()


class Meters:
    """All names of one phase (training or one evaluation)."""

    def __init__(self, *, takes_objects: bool) -> None:
        self._meters: dict[str, Meter] = {}
        self._objects: dict[str, Any] = {}
        self._takes_objects = takes_objects

    def log(self, name: str, value: Any, weight: float) -> None:
        """Take one value: a number, a tensor of one element, one number a sample (N,), or a metric object.

        A metric object has ``compute`` and ``reset`` (torchmetrics' have); it is read when the phase ends.
        """
        meter = self._meters.get(name)
        if meter is None:
            if hasattr(value, "compute") and hasattr(value, "reset"):
                self._log_object(name, value)
                return
            meter = self._meters[name] = Meter()
        if not isinstance(value, Tensor):
            meter.pending.append(_number(name, value))
        elif value.ndim == 0:
            # Its value now: the caller may change the tensor in place, or a captured graph write over it.
            meter.pending.append(value.item() if value.is_cpu else value.detach().clone())
        else:
            weight = self._log_many(name, meter, value, weight)
        meter.weights.append(weight)

    def _log_object(self, name: str, metric: Any) -> None:
        if not self._takes_objects:
            raise ConfigError(
                f"log({name}=...): a {type(metric).__name__} keeps a state of its own, which a checkpoint in mid-epoch "
                "would lose. In training log its value for the batch, and the object itself inside run.evaluate"
            )
        self._objects[name] = metric

    def _log_many(self, name: str, meter: Meter, value: Tensor, weight: float) -> float:
        """A tensor that is no scalar; returns the weight it has."""
        if value.numel() == 1:
            meter.pending.append(value.detach().reshape(()).clone())
            return weight
        if value.ndim != 1 or value.numel() == 0:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}: log one number, or one number a sample (N,); reduce it first"
            )
        meter.pending.append(value.detach().float().mean())
        return float(value.numel())

    def interval(self) -> dict[str, float]:
        """Means since the last call."""
        means = {}
        for name, meter in self._meters.items():
            meter.read()
            if meter.interval.weight:
                means[name] = meter.interval.mean
                meter.interval = _Sums()
        return means

    def peek(self) -> dict[str, float]:
        """Means over the phase so far, without ending anything."""
        for meter in self._meters.values():
            meter.read()
        return {name: meter.phase.mean for name, meter in self._meters.items() if meter.phase.weight}

    def close(self) -> tuple[dict[str, float], dict[str, float]]:
        """Means over the phase, and their spread (``NAME.std``, ``.min``, ``.max``); then a fresh start."""
        means, spread = {}, {}
        for name, meter in self._meters.items():
            meter.read()
            sums = meter.phase
            means[name] = sums.mean
            spread |= {f"{name}.std": sums.std, f"{name}.min": sums.low, f"{name}.max": sums.high}
        for name, metric in self._objects.items():
            means |= _computed(name, metric.compute())
            metric.reset()
        self._meters.clear()
        self._objects.clear()
        return means, spread

    def state_dict(self) -> dict[str, Any]:
        for meter in self._meters.values():
            meter.read()
        return {name: [asdict(meter.interval), asdict(meter.phase)] for name, meter in self._meters.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._meters = {
            name: Meter(interval=_Sums(**interval), phase=_Sums(**phase)) for name, (interval, phase) in state.items()
        }
        self._objects.clear()


def _on_host(pending: list[Any]) -> list[float]:
    """Numbers as they are; all tensors of one device in one transfer."""
    places: dict[torch.device, list[int]] = {}
    for index, value in enumerate(pending):
        if isinstance(value, Tensor):
            places.setdefault(value.device, []).append(index)
    values = list(pending)
    for indices in places.values():
        for index, value in zip(indices, torch.stack([pending[i] for i in indices]).tolist(), strict=True):
            values[index] = value
    return values


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

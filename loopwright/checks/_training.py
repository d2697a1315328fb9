"""Short trainings on one batch, and what is seen on the way. Judges nothing; who calls puts the model back."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ._loss_facts import LossFacts
from ._subject import Subject
from ._verdict import CannotLook

STEPS = 100
RATES = (2e-3, 3e-4, 1e-2)  # of Adam, in the order of trying
ENOUGH = 0.95  # share of the way to a perfect answer that ends a training


@dataclass
class Curve:
    """One training on one batch."""

    losses: list[float]  # before each step, and at last after the last
    rate: float
    cut: bool = False  # whether the time was over before the steps were
    touched: dict[str, str] = field(default_factory=dict)  # parameter -> "none", "zero" or "moved"

    @property
    def steps(self) -> int:
        """Between the first loss and the last."""
        return len(self.losses) - 1

    @property
    def start(self) -> float:
        return self.losses[0]

    @property
    def end(self) -> float:
        """The mean of the last three; NaN if any loss was."""
        last = self.losses[-3:]
        return sum(last) / len(last) if all(map(math.isfinite, self.losses)) else math.nan


@contextmanager
def dropout_off(model: nn.Module) -> Iterator[None]:
    """Training mode without the layers that drop something at random."""
    before = [(layer, layer.training) for layer in model.modules()]
    model.train()
    for layer in model.modules():
        if "drop" in type(layer).__name__.lower():
            layer.eval()
    try:
        yield
    finally:
        for layer, training in before:
            layer.training = training


def overfit(subject: Subject, batch: Any, facts: LossFacts, seconds: float, rate: float, steps: int = STEPS) -> Curve:
    """Train on one batch with Adam and no dropout until it is known by heart, or steps or seconds run out."""
    trained = {name: p for name, p in subject.model.named_parameters() if p.requires_grad}
    if not trained:
        raise CannotLook("no parameter is trained: all are frozen")
    adam = torch.optim.Adam(trained.values(), lr=rate)
    curve, began = Curve([], rate), time.monotonic()
    with dropout_off(subject.model), torch.enable_grad():
        for step in range(steps):
            adam.zero_grad()
            loss = subject.loss(batch)
            curve.losses.append(float(loss.detach()))
            if not loss.requires_grad:
                raise CannotLook("the loss has no gradient")
            if not math.isfinite(curve.losses[-1]) or facts.progress(curve.start, curve.losses[-1]) > ENOUGH:
                break
            loss.backward()
            _note_gradients(curve, trained)
            adam.step()
            if time.monotonic() - began > seconds and step >= 2:
                curve.cut = True
                break
        else:
            with torch.no_grad():
                curve.losses.append(float(subject.loss(batch)))
    adam.zero_grad()
    return curve


def _note_gradients(curve: Curve, trained: dict[str, nn.Parameter]) -> None:
    for name, parameter in trained.items():
        if curve.touched.get(name) == "moved":
            continue
        if parameter.grad is None:
            curve.touched.setdefault(name, "none")
        else:
            curve.touched[name] = "moved" if bool(parameter.grad.any()) else "zero"


def settle(subject: Subject, batch: Any, passes: int = 40) -> None:
    """Let the running statistics of batch norms come to rest for the weights as they are now."""
    with dropout_off(subject.model), torch.no_grad():
        for _ in range(passes):
            subject.loss(batch)

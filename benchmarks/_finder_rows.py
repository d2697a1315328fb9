"""Unusual trainings for a learning-rate finder, and whether it behaves in each. Knows nothing about any finder.

To behave is to suggest, of the same training in another dress, about the same rate; and to leave everything as it was.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.finders import Problem

Find = Callable[[Problem], float]
WITHIN = 3.0  # the factor by which two suggestions for the same training may differ
SAMPLES, FEATURES, BATCH = 1280, 32, 32


class OwnLoss(nn.Module):
    """Returns its own loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.model(x), y)


def cases() -> dict[str, Callable[[Find], str]]:
    """Names of cases to functions, from a finder to nothing, or to what is wrong."""
    return {
        "a loss below zero": _like_plain(lambda p: _with_loss(p, lambda out, y: F.cross_entropy(out, y) - 5)),
        "NaN once, at step 35": _like_plain(lambda p: _with_loss(p, _NanOnce(35))),
        "NaN from the first step": _says_so,
        "17 steps an epoch": _like_plain(lambda p: _with_samples(p, 17 * BATCH)),
        "batches are dictionaries": _like_plain(_as_dictionaries),
        "the model returns its loss": _like_plain(_own_loss),
        "LBFGS": _lbfgs,
        "everything is as it was": _as_it_was,
    }


def plain() -> Problem:
    """A small network on clusters that overlap."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    return Problem(model, lambda lr: torch.optim.Adam(model.parameters(), lr=lr), _loader(SAMPLES), F.cross_entropy)


def _loader(samples: int, collate: Any = None) -> DataLoader:
    draw = torch.Generator().manual_seed(0)
    centers = torch.randn(10, FEATURES, generator=draw)
    labels = torch.randint(10, (samples,), generator=draw)
    features = centers[labels] + 1.5 * torch.randn(samples, FEATURES, generator=draw)
    data: Any = list(zip(features, labels, strict=True))
    return DataLoader(data, BATCH, shuffle=True, collate_fn=collate)


def _with_loss(problem: Problem, loss: Any) -> Problem:
    return Problem(problem.model, problem.build, problem.loader, loss)


def _with_samples(problem: Problem, samples: int) -> Problem:
    return Problem(problem.model, problem.build, _loader(samples), problem.loss)


def _own_loss(problem: Problem) -> Problem:
    return Problem(OwnLoss(problem.model), problem.build, problem.loader, None)


def _as_dictionaries(problem: Problem) -> Problem:
    def collate(items: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {"x": torch.stack([x for x, _ in items]), "y": torch.stack([y for _, y in items])}

    return Problem(OwnLoss(problem.model), problem.build, _loader(SAMPLES, collate), None)


class _NanOnce:
    """A loss that is NaN for one batch."""

    def __init__(self, at: int) -> None:
        self._at, self._calls = at, 0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        self._calls += 1
        loss = F.cross_entropy(output, target)
        return loss * math.nan if self._calls == self._at else loss


def _like_plain(dressed: Callable[[Problem], Problem]) -> Callable[[Find], str]:
    def case(find: Find) -> str:
        expected, found = find(plain()), find(dressed(plain()))
        if not math.isfinite(found) or max(expected / found, found / expected) > WITHIN:
            return f"suggests {found:.2g}, of the plain training {expected:.2g}"
        return ""

    return case


def _says_so(find: Find) -> str:
    problem = _with_loss(plain(), lambda output, target: F.cross_entropy(output, target) * math.nan)
    try:
        found = find(problem)
    except Exception:
        return ""  # it refuses, in whatever words
    return f"suggests {found:.2g}"


def _lbfgs(find: Find) -> str:
    problem = plain()
    problem.build = lambda lr: torch.optim.LBFGS(problem.model.parameters(), lr=lr, max_iter=4)
    found = find(problem)
    return "" if 1e-3 < found <= 10 else f"suggests {found:.2g}"


def _as_it_was(find: Find) -> str:
    problem = plain()
    F.cross_entropy(problem.model(torch.ones(4, FEATURES)), torch.zeros(4, dtype=torch.long)).backward()
    problem.model.eval()
    optimizer = problem.build(0.01)
    problem.build = lambda _lr: optimizer
    before = _everything(problem.model, optimizer)
    find(problem)
    after = _everything(problem.model, optimizer)
    changed = [name for name in before if before[name] != after[name]]
    return f"changed: {', '.join(changed)}" if changed else ""


def _everything(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    return {
        "weights and buffers": [value.tolist() for value in model.state_dict().values()],
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "mode": [layer.training for layer in model.modules()],
        "optimizer": repr(optimizer.state_dict()),
        "Python's generator": random.getstate(),
        "NumPy's generator": [value.tolist() if hasattr(value, "tolist") else value for value in np.random.get_state()],
        "torch's generator": torch.get_rng_state().tolist(),
    }

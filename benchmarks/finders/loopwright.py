"""loopwright: `lw.find_lr`, only the seed set, so that each has its own order of the data."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

import loopwright as lw
from benchmarks.finders import Problem

PACKAGES = ["torch"]
START = 1e-3  # of the optimizer; of no consequence


def find(problem: Problem, optimizer: Optimizer) -> float:
    """The suggestion."""
    return lw.find_lr(problem.model, optimizer, problem.loader, loss=problem.loss, seed=torch.initial_seed()).lr

"""torch-lr-finder, as its README has it: from 1e-7 to 100 in 100 iterations, the steepest gradient."""

from __future__ import annotations

import contextlib
import io
import warnings

import matplotlib as mpl
from torch import nn
from torch.optim import Optimizer

from benchmarks.finders import Problem

mpl.use("Agg")

PACKAGES = ["torch-lr-finder"]
START = 1e-7  # where the ramp begins: the optimizer's own rate


def find(problem: Problem, optimizer: Optimizer) -> float:
    """The suggestion, and everything that `reset` puts back put back."""
    said = io.StringIO()
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        from matplotlib import pyplot
        from torch_lr_finder import LRFinder

        criterion = problem.loss or nn.Identity()
        finder = LRFinder(problem.model, optimizer, criterion, device="cpu")
        finder.range_test(problem.loader, end_lr=100, num_iter=100)
        figure, axes = pyplot.subplots()
        _, suggestion = finder.plot(ax=axes)
        pyplot.close(figure)
        finder.reset()
    return float(suggestion)

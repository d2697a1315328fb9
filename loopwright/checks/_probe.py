"""A probe: how well plain features of pictures tell classes apart. Kernel ridge regression; knows nothing of networks.

Features are histograms of oriented gradients and a coarse picture. Leave-one-out scores come in closed form.
Sources: Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005; Rifkin and Lippert, "Notes on
regularized least squares", MIT 2007 (leave-one-out).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE, _BINS, _CELLS, _COARSE = 32, 9, 7, 6
_RIDGE = 0.2


def features(pictures: Tensor) -> Tensor:
    """float64 (N, F) of pictures (N, C, H, W) of any range."""
    small = F.interpolate(pictures.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
    edges = _edges(small.mean(1, keepdim=True))
    coarse = F.adaptive_avg_pool2d(small, _COARSE).flatten(1)
    coarse = (coarse - coarse.mean(0)) / (coarse.std(0) + 1e-9)
    return torch.cat([_scaled(edges), 0.5 * _scaled(coarse)], 1).double()


def _edges(gray: Tensor) -> Tensor:
    """Histograms of the directions of edges in cells, each block of 2 x 2 cells of unit length."""
    across = (gray[..., :, 2:] - gray[..., :, :-2])[..., 1:-1, :]
    down = (gray[..., 2:, :] - gray[..., :-2, :])[..., :, 1:-1]
    place = torch.atan2(down, across) % math.pi / math.pi * _BINS
    below, strength = place.floor(), (across**2 + down**2).sqrt()
    share = place - below
    low = below.long() % _BINS
    histogram = strength.new_zeros(len(gray), _BINS, *gray.shape[-2:])[..., 1:-1, 1:-1].clone()
    histogram.scatter_add_(1, low, strength * (1 - share))
    histogram.scatter_add_(1, (low + 1) % _BINS, strength * share)
    blocks = F.unfold(F.adaptive_avg_pool2d(histogram, _CELLS), 2)
    length = blocks.norm(dim=1, keepdim=True)
    return (blocks / (length + 0.01 * length.mean() + 1e-9)).flatten(1)


def _scaled(values: Tensor) -> Tensor:
    values = values - values.mean(0)
    return values / (values.norm(dim=1).mean() + 1e-9)


class Probe:
    """Scores of each class, (N, classes): of each sample of a set by all others of it, and of another set by this one.

    Args:
        first, other: features of the two sets, computed together.
    """

    def __init__(self, first: Tensor, other: Tensor) -> None:
        both = torch.cat([first, other])
        apart = torch.cdist(both, both).square()
        self._count = len(first)
        self._kernel = torch.exp(-apart / apart[: len(first), : len(first)].median().clamp(min=1e-12))

    def own(self, labels: Tensor, classes: int, *, other: bool = False) -> Tensor:
        """Leave-one-out scores within the first set, or the other one."""
        part = slice(self._count, None) if other else slice(self._count)
        weights, inverse = self._solved(self._kernel[part, part], labels, classes)
        return _signs(labels, classes) - weights / inverse.diagonal()[:, None]

    def across(self, labels: Tensor, classes: int, *, back: bool = False) -> Tensor:
        """Scores of the other set, learnt from the first set's labels, or the other way round."""
        first, other = slice(self._count), slice(self._count, None)
        learnt, scored = (other, first) if back else (first, other)
        weights, _ = self._solved(self._kernel[learnt, learnt], labels, classes)
        return self._kernel[scored, learnt] @ weights

    def _solved(self, kernel: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv(kernel + _RIDGE * torch.eye(len(kernel), dtype=kernel.dtype))
        return inverse @ _signs(labels, classes), inverse


def _signs(labels: Tensor, classes: int) -> Tensor:
    return 2 * F.one_hot(labels, classes).double() - 1


def binomial_tail(successes: int, trials: int, chance: float = 0.5) -> float:
    """The probability of at least so many successes.

    >>> round(binomial_tail(9, 10), 4)
    0.0107
    """
    if successes <= 0:
        return 1.0
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(chance) + (trials - k) * math.log1p(-chance)
        for k in range(successes, trials + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(value) for value in logs))

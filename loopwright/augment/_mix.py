"""``Mixup`` and ``CutMix``: each picture with another one of its batch, and their labels by the same shares."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._errors import ConfigError, DataError
from ._erase import box_mask
from ._member import Batch, BatchTransform, Plan, Shape
from ._pixels import as_float, at_once, change_some, check_probability, laid_out, like, take
from ._random import StepRandom


class Mixing(BatchTransform):
    """What both have in common: partners, shares, labels. A picture's partner may be itself."""

    by_sample = False

    def __init__(self, classes: int, *, alpha: float, p: float) -> None:
        name = type(self).__name__
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
            raise ConfigError(f"{name}: classes must be a whole number, 1 or more. Found: {classes!r}")
        if not isinstance(alpha, int | float) or not alpha > 0:
            raise ConfigError(f"{name}: alpha must be above 0. Found: {alpha!r}")
        self.classes, self.alpha, self.p = classes, float(alpha), check_probability(f"{name}: p", p)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        drawn, partner = rng.uniform(shape.samples, 5), rng.permutation(shape.samples)
        mixed = np.flatnonzero(drawn[:, 0] < self.p)
        numbers, share = self.shares(drawn[mixed, 1:], shape)
        own = np.ones(shape.samples)
        own[mixed] = share
        return Plan({"mixed": mixed, "partner": partner, "partner_of_mixed": partner[mixed], "own": own, **numbers})

    @abstractmethod
    def shares(self, drawn: np.ndarray, shape: Shape) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """From numbers (n, 4): what ``mix`` needs, and the share of each picture in its mixture (n,)."""

    @abstractmethod
    def mix(self, images: Tensor, others: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """The mixtures."""

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        soft = self._soft(labels, len(images))
        others = take(images, numbers["partner_of_mixed"])
        result = change_some(images, numbers["mixed"], lambda part: self.mix(part, others, numbers))
        return result, torch.lerp(soft.index_select(0, numbers["partner"]), soft, numbers["own"][:, None])

    def _soft(self, labels: Any, count: int) -> Tensor:
        """Class indexes (N,) to float32 (N, classes); what is soft already stays."""
        name = type(self).__name__
        if not isinstance(labels, Tensor) or len(labels) != count:
            found = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
            raise DataError(f"{name} mixes labels, too: a tensor of {count} is needed. Found: {found}")
        if labels.is_floating_point() and labels.shape == (count, self.classes):
            return labels.to(torch.float32)
        if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(
                f"{name}: labels must be class indexes (N,) or soft labels (N, {self.classes}). "
                f"Found: {tuple(labels.shape)} of {labels.dtype}"
            )
        if labels.device.type == "cpu":  # elsewhere to look is to wait; there torch's own assertion stops it
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.classes:
                raise DataError(f"{name}: labels must lie in 0..{self.classes - 1}. Found: {low} to {high}")
        soft = torch.zeros(count, self.classes, device=labels.device)
        return soft.scatter_(1, labels.to(torch.int64)[:, None], 1.0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.classes}, alpha={self.alpha}, p={self.p})"


class Mixup(Mixing):
    """Each picture blended with another one of its batch, and its label with the other's.

    Args:
        classes: how many there are.
        alpha: above 0; the share of a picture is drawn from Beta(alpha, alpha), for each picture anew. 0.1 to 0.4 is
            customary for large data sets.
        p: share of the pictures that are mixed.

    Takes uint8 or any floats, (N, C, H, W), and labels as class indexes (N,) or soft ones (N, classes). Gives float32
    labels (N, classes) that sum to 1, which ``cross_entropy`` takes as they are. Without the labels' shares the mixture
    means nothing, so labels are needed.

    Raises:
        DataError: labels do not fit.

    Source: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018.

    >>> import torch
    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    >>> mixed, soft = Mixup(2, alpha=1.0)(images, torch.tensor([0, 1]), StepRandom(seed=0, step=1))
    >>> torch.equal(mixed.flatten(), soft[:, 1])
    True
    """

    def __init__(self, classes: int, *, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(classes, alpha=alpha, p=p)

    def shares(self, drawn: np.ndarray, shape: Shape) -> tuple[dict[str, np.ndarray], np.ndarray]:
        share = symmetric_beta(drawn[:, :2], self.alpha)
        return {"share": share}, share

    def mix(self, images: Tensor, others: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        share, count = numbers["share"].view(-1, 1, 1, 1), at_once(images)
        parts = zip(others.split(count), images.split(count), share.split(count), strict=True)
        return torch.cat([like(torch.lerp(as_float(a), as_float(b), s), b) for a, b, s in parts])


class CutMix(Mixing):
    """A box of each picture replaced by that of another one of its batch; labels by the shares of the area.

    Args:
        classes: how many there are.
        alpha: above 0; the box's share of the area is drawn from Beta(alpha, alpha), for each picture anew, before what
            lies outside the picture is cut off. The labels have the share that is left.
        p: share of the pictures that are mixed.

    Takes and gives what ``Mixup`` does.

    Source: Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", ICCV 2019.

    >>> import torch
    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    >>> mixed, soft = CutMix(2)(images, torch.tensor([0, 1]), StepRandom(seed=0, step=1))
    >>> torch.equal(mixed.mean((1, 2, 3)), soft[:, 1])
    True
    """

    def __init__(self, classes: int, *, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(classes, alpha=alpha, p=p)

    def shares(self, drawn: np.ndarray, shape: Shape) -> tuple[dict[str, np.ndarray], np.ndarray]:
        side = np.sqrt(1 - symmetric_beta(drawn[:, :2], self.alpha))[:, None]
        extent = np.array([shape.width, shape.height])
        centre, half = np.floor(drawn[:, 2:] * extent), np.floor(extent * side) // 2
        low, high = np.clip(centre - half, 0, extent), np.clip(centre + half, 0, extent)
        share = 1 - (high - low).prod(1) / extent.prod()
        return {"box": np.concatenate([low, high], 1)}, share

    def mix(self, images: Tensor, others: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        inside = box_mask(numbers["box"], images.shape[2], images.shape[3])
        return laid_out(torch.where(inside, others, images), images)


def symmetric_beta(drawn: np.ndarray, alpha: float) -> np.ndarray:
    """Numbers distributed as Beta(alpha, alpha), from uniform ones (n, 2): float64 (n,), 0 to 1.

    Source: Devroye, "Random variate generation in one line of code", WSC 1996, from Bailey's polar method for Student's t.
    """
    with np.errstate(divide="ignore", over="ignore"):
        spread = ((1 - drawn[:, 0]) ** (-1 / alpha) - 1) * np.cos(2 * np.pi * drawn[:, 1]) ** 2
        away = 1 / np.sqrt(1 + 1 / spread)
    return 0.5 + 0.5 * away * np.sign(np.cos(2 * np.pi * drawn[:, 1]))

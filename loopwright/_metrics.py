"""Metrics over samples: top-k accuracy, PSNR and SSIM of one batch, and a confusion matrix over many.

Nothing here averages averages: a function gives the mean over its batch or one value a sample, and `Confusion` counts.
Knows nothing of runs, logging and several machines. Nothing synchronises the device before a value is read.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._errors import CheckpointError, DataError


def topk_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """The share of samples whose label is among the `k` highest logits: a 0-dim tensor on the same device.

    Args:
        logits: (N, C); equal ones rank as `torch.topk` ranks them.
        labels: (N,) class indexes. One outside 0..C-1 counts as wrong.

    Raises:
        DataError: the shapes do not fit, or `k` is not in 1..C.

    >>> topk_accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([1, 1, 0]))
    tensor(0.6667)
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"logits must be (N, C) and labels (N,), got {tuple(logits.shape)} and {tuple(labels.shape)}; "
            "for one label a pixel use Confusion"
        )
    if not 1 <= k <= logits.shape[1]:
        raise DataError(f"k must lie in 1..{logits.shape[1]}, the number of classes, got {k}")
    highest = logits.topk(k, dim=1).indices
    return (highest == labels[:, None]).any(dim=1).float().mean()


def psnr(predicted: Tensor, target: Tensor, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of each picture in decibels, 10 log10(data_range² / mean squared error): (N,).

    Args:
        predicted: (N, ...), not clipped here.
        target: of the same shape. A picture equal to its target has an infinite ratio.
        data_range: the largest minus the smallest possible value; 255 for uint8.

    Raises:
        DataError: the shapes differ, or integers come without their range.

    >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
    tensor([20.])
    """
    predicted, target = _comparable(predicted, target, data_range)
    error = (predicted - target).square().flatten(1).mean(dim=1)
    return (10 * torch.log10(data_range**2 / error)).float()


def ssim(predicted: Tensor, target: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity of each picture, at most 1: (N,).

    Windows are uniform, 7 x 7, and lie wholly inside the picture; covariances are those of a sample; channels are
    averaged. These are the defaults of scikit-image's ``structural_similarity``; the paper's Gaussian window gives
    other numbers.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13(4), 2004.

    Args:
        predicted: (N, C, H, W), H and W at least 7.
        target: of the same shape.
        data_range: the largest minus the smallest possible value; 255 for uint8.

    Raises:
        DataError: the shapes differ or are too small, or integers come without their range.

    >>> picture = torch.rand(2, 3, 16, 16)
    >>> ssim(picture, picture)
    tensor([1., 1.])
    """
    window = 7
    if predicted.ndim != 4 or min(predicted.shape[2:]) < window:
        raise DataError(f"ssim needs (N, C, H, W) with H and W at least {window}, got {tuple(predicted.shape)}")
    x, y = _comparable(predicted, target, data_range)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (F.avg_pool2d(z, window, stride=1) for z in (x, y, x * x, y * y, x * y))
    sample = window**2 / (window**2 - 1)
    variances = sample * (mean_xx - mean_x**2 + mean_yy - mean_y**2)
    covariance = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return similarity.flatten(1).mean(dim=1).float()


def _comparable(predicted: Tensor, target: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Both in a precision in which neither uint8 wraps round nor variances cancel."""
    if predicted.shape != target.shape or predicted.ndim < 2:
        raise DataError(
            "predicted and target must be batches (N, ...) of one shape, "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    for what, tensor in (("predicted", predicted), ("target", target)):
        if data_range == 1.0 and not tensor.is_floating_point():
            raise DataError(f"{what} is of dtype {tensor.dtype}: give its data_range, 255 for uint8")
    precise = torch.float32 if predicted.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return predicted.to(precise), target.to(precise)


class Confusion:
    """Counts of (truth, prediction) over a whole data set, and the figures that follow from them.

    Every sample, or pixel, weighs the same, whatever the batches were. Counting stays on the device of the labels and
    never waits for it; reading a figure does. A figure that is 0 / 0 is nan: the recall of a class that never occurs,
    the precision of one that is never predicted, the IoU of one that is neither. Means over classes leave nan out.

    Args:
        num_classes: C, at least 1.
        class_names: C names for `most_confused`, by default the indexes.

    >>> confusion = Confusion(3, ["cat", "dog", "fox"])
    >>> confusion.update(torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1]))
    >>> confusion.matrix
    tensor([[2, 1, 0],
            [0, 1, 1],
            [0, 0, 0]])
    >>> confusion.accuracy
    0.6
    >>> confusion.recall
    tensor([0.6667, 0.5000,    nan], dtype=torch.float64)
    >>> confusion.most_confused(1)
    [('cat', 'dog', 1)]
    """

    def __init__(self, num_classes: int, class_names: Sequence[str] | None = None) -> None:
        names = [str(index) for index in range(num_classes)] if class_names is None else list(class_names)
        if num_classes < 1 or len(names) != num_classes:
            raise DataError(f"{num_classes} classes with {len(names)} names: give at least one class, and each a name")
        self.num_classes = num_classes
        self.class_names = names
        self.reset()

    def reset(self) -> None:
        """Forget everything counted."""
        # One cell more than the matrix has: what lies outside it is counted there, for checking would wait for the GPU.
        self._counts = torch.zeros(self.num_classes**2 + 1, dtype=torch.int64)

    def update(self, predicted: Tensor, labels: Tensor, ignore_index: int | None = None) -> None:
        """Count one batch.

        Args:
            predicted: logits (N, C, ...), or class indexes of the shape of `labels`.
            labels: (N, ...) class indexes.
            ignore_index: entries with this label are not counted.

        Raises:
            DataError: the shapes do not fit. An index out of range is reported when a figure is read.
        """
        truth, guess = labels.long().flatten(), self._classes(predicted, labels).long().flatten()
        self._counts = self._counts.to(labels.device)
        inside = (truth >= 0) & (truth < self.num_classes) & (guess >= 0) & (guess < self.num_classes)
        cell = torch.where(inside, truth * self.num_classes + guess, self.num_classes**2)
        weight = torch.ones_like(cell) if ignore_index is None else (truth != ignore_index).long()
        self._counts.scatter_add_(0, cell, weight)

    def _classes(self, predicted: Tensor, labels: Tensor) -> Tensor:
        if predicted.shape == (*labels.shape[:1], self.num_classes, *labels.shape[1:]) and labels.ndim:
            return predicted.argmax(dim=1)
        if predicted.shape == labels.shape and not predicted.is_floating_point():
            return predicted
        raise DataError(
            f"predictions {tuple(predicted.shape)} of dtype {predicted.dtype} do not fit labels {tuple(labels.shape)}: "
            f"give logits (N, {self.num_classes}, ...) or integer class indexes of the labels' shape"
        )

    @property
    def matrix(self) -> Tensor:
        """(C, C) int64 on the CPU: rows are the truth, columns the prediction."""
        counts = self._counts.cpu()
        outside = int(counts[-1])
        if outside:
            raise DataError(
                f"{outside} labels or predictions lay outside 0..{self.num_classes - 1}: "
                "check the number of classes, or name the label to leave out with ignore_index"
            )
        return counts[:-1].reshape(self.num_classes, self.num_classes).clone()

    @property
    def accuracy(self) -> float:
        """The share of samples that are right."""
        matrix = self.matrix
        total = int(matrix.sum())
        return int(matrix.trace()) / total if total else math.nan

    @property
    def recall(self) -> Tensor:
        """(C,) The share of each class's samples that were found, also called the accuracy of the class."""
        matrix = self.matrix
        return matrix.diagonal().double() / matrix.sum(dim=1)

    @property
    def precision(self) -> Tensor:
        """(C,) The share of each class's predictions that are right."""
        matrix = self.matrix
        return matrix.diagonal().double() / matrix.sum(dim=0)

    @property
    def iou(self) -> Tensor:
        """(C,) Intersection over union (Jaccard index) of each class's samples and its predictions."""
        matrix = self.matrix
        hits = matrix.diagonal()
        return hits.double() / (matrix.sum(dim=0) + matrix.sum(dim=1) - hits)

    @property
    def mean_recall(self) -> float:
        """The mean of `recall` over the classes that occur, also called balanced accuracy."""
        return float(self.recall.nanmean())

    @property
    def mean_iou(self) -> float:
        """The mean of `iou` over the classes that occur or were predicted."""
        return float(self.iou.nanmean())

    def compute(self) -> dict[str, float]:
        """The figures that are one number, by name."""
        return {"accuracy": self.accuracy, "mean_recall": self.mean_recall, "mean_iou": self.mean_iou}

    def most_confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """The most frequent mistakes: (truth, prediction, how often), at most `count`, none that never happened."""
        mistakes = [
            (self.class_names[truth], self.class_names[guess], times)
            for truth, row in enumerate(self.matrix.tolist())
            for guess, times in enumerate(row)
            if truth != guess and times
        ]
        return sorted(mistakes, key=lambda mistake: -mistake[2])[:count]

    def state_dict(self) -> dict[str, Any]:
        """A copy of the counts."""
        return {"counts": self._counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; CheckpointError when it is of another number of classes."""
        counts = state["counts"]
        if counts.shape != self._counts.shape:
            saved = math.isqrt(max(0, counts.numel() - 1))
            raise CheckpointError(f"the saved confusion matrix has {saved} classes, this one has {self.num_classes}")
        self._counts = counts.to(torch.int64, copy=True)

"""Metrics over classes: top-k accuracy of one batch, and a confusion matrix over many.

Nothing here averages averages: a function gives the mean over its batch, and `Confusion` counts. Knows nothing of runs,
logging and several machines. Nothing synchronises the device before a value is read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
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


class Confusion:
    """Counts of (truth, prediction) over a whole data set, and the figures that follow from them.

    Every sample, or pixel, weighs the same, whatever the batches were. Counting stays on the device of the labels and
    never waits for it; reading a figure does. A figure that is 0 / 0 is nan: the recall of a class that never occurs,
    the precision of one that is never predicted, the IoU of one that is neither. Means over classes leave nan out.

    Args:
        num_classes: C, at least 1.
        class_names: C names for `most_confused`, by default the indexes.
        ignore_index: labels that are never counted, such as 255 of masks; `update` may name another one.

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

    def __init__(
        self, num_classes: int, class_names: Sequence[str] | None = None, *, ignore_index: int | None = None
    ) -> None:
        names = [str(index) for index in range(num_classes)] if class_names is None else list(class_names)
        if num_classes < 1 or len(names) != num_classes:
            raise DataError(f"{num_classes} classes with {len(names)} names: give at least one class, and each a name")
        self.num_classes = num_classes
        self.class_names, self.ignore_index = names, ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget everything counted."""
        # One cell more than the matrix has: what lies outside it is counted there, for checking would wait for the GPU.
        self._counts = torch.zeros(self.num_classes**2 + 1, dtype=torch.int64)

    def gather(self, gather: Callable[[Tensor], list[Tensor]]) -> None:
        """Count what all ranks have counted: ``gather`` gives every rank the counts of all."""
        self._counts = torch.stack(gather(self._counts.cpu())).sum(0)

    def update(self, predicted: Tensor, labels: Tensor, ignore_index: int | None = None) -> None:
        """Count one batch.

        Args:
            predicted: logits (N, C, ...), or class indexes of the shape of `labels`.
            labels: (N, ...) class indexes.
            ignore_index: entries with this label are not counted. Default: that of the whole.

        Raises:
            DataError: the shapes do not fit. An index out of range is reported when a figure is read.
        """
        truth, guess = labels.long().flatten(), self._classes(predicted, labels).long().flatten()
        ignored = self.ignore_index if ignore_index is None else ignore_index
        self._counts = self._counts.to(labels.device)
        inside = (truth >= 0) & (truth < self.num_classes) & (guess >= 0) & (guess < self.num_classes)
        cell = torch.where(inside, truth * self.num_classes + guess, self.num_classes**2)
        weight = torch.ones_like(cell) if ignored is None else (truth != ignored).long()
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

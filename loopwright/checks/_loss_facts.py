"""What a loss is, found by asking it: it is given outputs whose right answer is known. Reads no names, trusts no types."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ._subject import Subject
from ._verdict import CannotLook

Kind = Literal["classes", "marks", "values", "unknown"]
_SCALES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


@dataclass(frozen=True)
class LossFacts:
    """Of one loss, one kind of output and one batch's targets."""

    kind: Kind  # one class a sample or pixel; 0 or 1 for each of several marks; numbers; something else
    classes: int = 0
    softmax_inside: bool = False  # adding a number to all scores changes nothing
    wants_log_probabilities: bool = False  # adding a number to all scores lowers the loss by it
    sigmoid_inside: bool = False
    perfect: float = math.nan  # the loss of right answers
    wrong: float = math.nan  # the loss of wrong ones
    constant: float = math.nan  # the best that one and the same answer for all samples reaches

    @property
    def prefers_right(self) -> bool:
        """Whether right answers cost less than wrong ones; True where that is not known."""
        return not self.perfect >= self.wrong

    def progress(self, start: float, end: float) -> float:
        """The share of the way from the start to a perfect answer; NaN where what is perfect is not known."""
        way = start - self.perfect
        return (start - end) / way if way > 1e-12 else math.nan


def loss_facts(subject: Subject, batch: object, output: Tensor, frequencies: Tensor | None = None) -> LossFacts:
    """Ask the loss of a subject.

    Args:
        output: what the model returned for the batch; only its shape and dtype matter.
        frequencies: of each class in the data, for the best constant answer. Default: those of the batch.
    """
    try:
        target = subject.target(batch)
    except CannotLook:
        return LossFacts("unknown")

    def ask(answer: Tensor) -> float:
        with torch.no_grad():
            return float(subject.loss_of(answer.to(output.dtype), batch))

    output = output.detach()
    classes = is_classes(output, target)
    if not classes and (not target.is_floating_point() or target.numel() != output.numel()):
        return LossFacts("unknown")
    try:
        if classes:
            return _of_classes(ask, output, target, frequencies)
        shaped = target.reshape(output.shape)
        if _are_shares(shaped) and _takes_softmax(ask, output):
            return _of_shares(ask, shaped)
        marks = bool(((shaped == 0) | (shaped == 1)).all()) and shaped.unique().numel() == 2
        return _of_marks(ask, shaped) if marks else _of_values(ask, shaped)
    except CannotLook:  # a loss of the model's own
        return LossFacts("classes", output.shape[1]) if classes else LossFacts("unknown")


def is_classes(output: Tensor, target: Tensor) -> bool:
    """Whether the target is the index of a class for each sample, or each pixel, of the output's second axis."""
    if target.is_floating_point() or target.dtype == torch.bool or output.ndim < 2:
        return False
    return target.shape == (output.shape[0], *output.shape[2:]) and output.shape[1] >= 2


def _of_classes(ask: Callable[[Tensor], float], output: Tensor, target: Tensor, given: Tensor | None) -> LossFacts:
    classes = output.shape[1]
    good = _one_hot(target.clamp(0, classes - 1), classes).to(output.device)
    bad = good.roll(1, dims=1)
    inside = _takes_softmax(ask, output)
    zeros = torch.zeros_like(output, dtype=torch.float32)
    logs = not inside and math.isclose(abs(ask(zeros) - ask(zeros + 1)), 1, rel_tol=1e-3)

    def scaled(direction: Tensor) -> list[float]:
        scores = (direction * scale for scale in _SCALES)
        return [ask(score.log_softmax(1) if logs else score) for score in scores]

    right, wrong = scaled(good), scaled(bad)
    counts = torch.bincount(target.flatten().clamp(0, classes - 1), minlength=classes).float()
    share = (given if given is not None else counts).to(output.device).clamp(min=1e-6)
    constant = (share / share.sum()).log().reshape(1, -1, *[1] * (output.ndim - 2)).expand(output.shape)
    best = right[_SCALES.index(4.0)] < wrong[_SCALES.index(4.0)]
    return LossFacts(
        "classes", classes, inside, logs, perfect=min(right) if best else right[5], wrong=wrong[5],
        constant=min(ask(constant), ask((torch.zeros_like(constant)).log_softmax(1))),
    )  # fmt: skip


def _are_shares(target: Tensor) -> bool:
    """Whether targets are a probability for each class, as mixup and distillation make them."""
    if target.ndim < 2 or target.shape[1] < 2 or bool((target < 0).any()):
        return False
    return bool(((target.sum(1) - 1).abs() < 1e-3).all())


def _takes_softmax(ask: Callable[[Tensor], float], output: Tensor) -> bool:
    noise = torch.randn_like(output.float())
    return math.isclose(ask(noise), ask(noise + 1), rel_tol=1e-4, abs_tol=1e-5)


def _of_shares(ask: Callable[[Tensor], float], target: Tensor) -> LossFacts:
    sure = (target + 1e-7).log()
    return LossFacts(
        "classes", target.shape[1], softmax_inside=True, perfect=ask(sure), wrong=ask(sure.roll(1, dims=1)),
        constant=ask(target.mean(0, keepdim=True).clamp(min=1e-6).log().expand(target.shape)),
    )  # fmt: skip


def _of_marks(ask: Callable[[Tensor], float], target: Tensor) -> LossFacts:
    """Several yes-or-no questions: scores, or probabilities where the loss takes nothing else."""
    constant = target.mean(0, keepdim=True).clamp(1e-3, 1 - 1e-3).expand(target.shape)
    probable, improbable = target * 0.998 + 0.001, 0.999 - target * 0.998
    try:
        right, wrong = ask(16 * (target - 0.5)), ask(-16 * (target - 0.5))
    except (RuntimeError, ValueError):  # binary_cross_entropy takes 0 to 1 only
        return LossFacts("marks", perfect=ask(probable), wrong=ask(improbable), constant=ask(constant))
    best, worst = sorted((right, wrong))
    if not best < min(ask(probable), ask(improbable)) < worst:  # large scores are no better answers: no sigmoid
        return _of_values(ask, target)
    return LossFacts("marks", sigmoid_inside=True, perfect=right, wrong=wrong, constant=ask(constant.logit()))


def _of_values(ask: Callable[[Tensor], float], target: Tensor) -> LossFacts:
    target = target.float()
    spread = target.std() if target.numel() > 1 else torch.tensor(1.0)
    noise = torch.randn_like(target) * (spread + 1e-6)
    axes = [0, *range(2, target.ndim)]
    mean = target.mean(axes, keepdim=True).expand(target.shape)
    middle = target.transpose(0, 1).flatten(1).median(1).values if target.ndim > 1 else target.median()[None]
    middle = middle.reshape(1, -1, *[1] * (target.ndim - 2)) if target.ndim > 1 else middle
    constant = min(ask(mean), ask(middle.expand(target.shape)))
    return LossFacts("values", perfect=ask(target), wrong=ask(target + noise), constant=constant)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return F.one_hot(target.long(), classes).movedim(-1, 1).float()

"""Whether outputs and loss belong together: softmax twice, the sign, the loss at the start. Trains nothing."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._loss_facts import LossFacts
from ._subject import Subject
from ._verdict import CannotLook, Verdict, failed, passed, warning

_ALMOST = 1e-3


def output_fits_loss(facts: LossFacts, output: Tensor) -> Verdict:
    """Whether the loss gets what it expects: scores, probabilities or their logarithms."""
    name, output = "output for loss", output.detach().float()
    low, high = float(output.min()), float(output.max())
    numbers: dict[str, Any] = {"min": low, "max": high}
    if facts.kind == "classes":
        return _classes(name, facts, output, numbers)
    if facts.kind == "marks" and facts.sigmoid_inside:
        if output.numel() >= 8 and low > 0 and high < 1:
            return failed(
                name, f"outputs lie between {low:.3f} and {high:.3f}, and the loss takes the sigmoid itself: sigmoid twice",
                "return scores without sigmoid", **numbers,
            )  # fmt: skip
        return passed(name, f"scores from {low:.2f} to {high:.2f} for a loss that takes the sigmoid itself", **numbers)
    if facts.kind == "marks":
        if low < 0 or high > 1:
            todo = "add a sigmoid, or better use binary_cross_entropy_with_logits"
            return failed(name, f"outputs go from {low:.2f} to {high:.2f}; the loss takes 0 to 1", todo, **numbers)
        return passed(name, f"outputs lie between {low:.3f} and {high:.3f}", **numbers)
    if facts.kind == "unknown":
        raise CannotLook("what the loss expects is not known")
    return passed(name, f"outputs from {low:.3g} to {high:.3g} for a loss of numbers", **numbers)


def _classes(name: str, facts: LossFacts, output: Tensor, numbers: dict[str, Any]) -> Verdict:
    total, logarithm = output.sum(1), output.logsumexp(1)
    sums_to_1 = numbers["min"] >= 0 and numbers["max"] <= 1 + _ALMOST and bool(((total - 1).abs() < _ALMOST).all())
    normalised = bool((logarithm.abs() < _ALMOST).all())
    if facts.softmax_inside and sums_to_1:
        best = math.log(1 + (facts.classes - 1) / math.e)  # of cross entropy on a one-hot row
        return failed(
            name,
            f"each sample's {facts.classes} outputs lie in 0 to 1 and sum to 1, and the loss takes the softmax itself: "
            f"softmax twice. The loss cannot fall below {best:.2f}, and gradients are small",
            "return scores without softmax", **numbers,
        )  # fmt: skip
    if facts.wants_log_probabilities and not normalised:
        return failed(
            name,
            "the loss takes logarithms of probabilities, and outputs are "
            + ("probabilities" if sums_to_1 else "scores of any sum: it can fall for ever"),
            "use cross_entropy on scores, or log_softmax before nll_loss", **numbers,
        )  # fmt: skip
    said = f"scores from {numbers['min']:.2f} to {numbers['max']:.2f}"
    if facts.softmax_inside:
        return passed(name, f"{said} for a loss that takes the softmax itself", **numbers)
    return passed(name, "logarithms of probabilities for a loss that takes them" if normalised else said, **numbers)


def loss_sign(facts: LossFacts, output: Tensor) -> Verdict:
    """Whether right answers cost less than wrong ones."""
    name = "loss sign"
    if math.isnan(facts.perfect) or math.isnan(facts.wrong):
        raise CannotLook("the loss cannot be asked for other outputs than the model's")
    numbers = {"right": facts.perfect, "wrong": facts.wrong, "kind": facts.kind}
    said = f"right answers cost {facts.perfect:.3g}, wrong ones {facts.wrong:.3g}"
    if not facts.prefers_right:
        if facts.wrong == facts.perfect:
            return failed(name, f"{said}: the loss does not look at the answers", "look at the loss", **numbers)
        return failed(name, f"{said}: training makes the answers wrong", "change the sign of the loss", **numbers)
    return passed(name, said, **numbers)


def start(subject: Subject, facts: LossFacts, batches: Sequence[Any]) -> Verdict:
    """The loss before training, beside what it should be: log K for classes, else that of the best constant."""
    name = "loss at start"
    with torch.no_grad():
        losses = [float(subject.loss(batch)) for batch in batches]
    loss = sum(losses) / len(losses)
    if math.isnan(facts.constant):
        raise CannotLook(f"it is {loss:.4g}; what it should be is not known, because the loss cannot be asked")
    numbers = {"loss": loss, "constant": facts.constant, "kind": facts.kind}
    if facts.kind == "classes":
        even = math.log(facts.classes)
        what = f"{loss:.3f}; log {facts.classes} is {even:.3f}, the best constant answer costs {facts.constant:.3f}"
        high, very_high = facts.constant + 0.5 * even + 0.3, facts.constant + 2 * even + 1
    else:
        what = f"{loss:.4g}; the best constant answer costs {facts.constant:.4g}"
        high, very_high = 4 * facts.constant + 1e-9, 100 * facts.constant + 1e-9
    what, todo = f"the loss is {what}", "start the last layer smaller, and its bias at the mean of the targets"
    if not facts.prefers_right or facts.constant < 0:
        return passed(name, f"{what} (but see loss sign)", **numbers)
    if loss > very_high:
        return failed(
            name, f"{what}: the network starts sure of wrong answers. Are the inputs normalised?", todo, **numbers
        )
    if loss > high:
        return warning(name, what, todo, **numbers)
    known = " (it knows something already)" if loss < 0.5 * facts.constant else ""
    return passed(name, what + known, **numbers)

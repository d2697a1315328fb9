"""Whether evaluation mode is what was trained, only calmer. Looks at a model that knows one batch by heart."""

import math
from typing import Any

import torch
from torch import Tensor

from ._loss_facts import LossFacts
from ._subject import Subject
from ._training import Curve, dropout_off, settle
from ._verdict import CannotLook, Verdict, failed, passed, warning


def modes_agree(subject: Subject, batch: Any, facts: LossFacts, curve: Curve) -> Verdict:
    """The loss in both modes on what was learnt by heart, and whether evaluation is the same twice."""
    name = "train and eval"
    if math.isnan(curve.end):
        raise CannotLook("the training on one batch gave no numbers")
    settle(subject, batch)
    with torch.no_grad():
        with dropout_off(subject.model):
            trained = float(subject.loss(batch))
        subject.model.eval()
        first, second = subject.run(batch), subject.run(batch)
    evaluated = float(first.loss)
    numbers = {"train": trained, "eval": evaluated}
    if not _same([first.loss, first.output], [second.loss, second.output]):
        said = f"two evaluations of the same samples differ: loss {evaluated:.6g} and {float(second.loss):.6g}"
        if not _same([*first.given], [*second.given]):
            return passed(name, f"{said}, because the loss gives the model random inputs", **numbers)
        todo = "F.dropout(x, training=self.training), and no random numbers where self.training is False"
        return (warning if first.output is None else failed)(name, said, todo, **numbers)
    said = f"on one batch, known by heart, the loss is {trained:.4g} in training and {evaluated:.4g} in evaluation mode"
    if not math.isfinite(evaluated):
        return failed(name, said, "look at the running statistics of batch norms", **numbers)
    way = curve.start - trained
    if way <= 0.1 * abs(curve.start) or not facts.prefers_right:
        raise CannotLook(f"{said}: nothing was learnt that could be lost")
    lost = (evaluated - trained) / way
    todo = "look at batch norms' running statistics (momentum, tiny batches), and at what else asks for self.training"
    if lost > 0.75:
        return failed(name, f"{said}: evaluation loses what was learnt", todo, lost=lost, **numbers)
    if lost > 0.25:
        return warning(name, said, todo, lost=lost, **numbers)
    return passed(name, said, lost=lost, **numbers)


def _same(ones: list[Tensor | None], others: list[Tensor | None]) -> bool:
    """Bit for bit, NaN equal to itself."""
    return len(ones) == len(others) and all(
        one is other or (one is not None and other is not None and torch.equal(one.nan_to_num(), other.nan_to_num()))
        for one, other in zip(ones, others, strict=True)
    )

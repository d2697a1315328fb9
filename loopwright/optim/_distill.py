"""Distillation: a model that learns from another one's outputs. Knows nothing about loops."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ConfigError


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """How far a student's softened probabilities are from a teacher's, times the temperature's square.

    Args:
        student, teacher: logits (N, classes); no gradient goes to the teacher.
        temperature: above 0; both logits are divided by it. The square keeps gradients of one size.

    Returns:
        Kullback-Leibler divergence in nats, the mean over the batch; 0 where both agree.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.

    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> distillation_loss(logits, logits + 5).item()
    0.0
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f"distillation: the student's logits are {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}: both "
            "must have the same classes"
        )
    wanted = (teacher.detach().float() / temperature).log_softmax(1)
    found = (student.float() / temperature).log_softmax(1)
    return F.kl_div(found, wanted, reduction="batchmean", log_target=True) * temperature**2


class Distillation(nn.Module):
    """What ``fit(compute=...)`` takes to let a model learn from a teacher as well as from the labels.

    In training the loss is ``(1 - weight) * loss(output, target) + weight * distillation_loss(output, teacher's output)``;
    in evaluation it is ``loss`` alone, and the teacher is not asked. The teacher sees the very pictures that the model
    sees, mixed and augmented; it is frozen, in evaluation mode, and moved to the pictures' device.

    Args:
        teacher: from pictures to logits of the same classes.
        loss: of the model's output and the labels.
        weight: of the teacher, 0 to 1.
        temperature: see ``distillation_loss``.
        metrics: names to functions ``metric(output, target)``, for evaluation.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; Beyer et al., "Knowledge
    distillation: a good teacher is patient and consistent", CVPR 2022, for showing both the same view.

    >>> compute = Distillation(nn.Linear(4, 2), nn.functional.cross_entropy, weight=0.5)
    >>> values = compute(nn.Linear(4, 2), (torch.ones(3, 4), torch.tensor([0, 1, 1])))
    >>> list(values)
    ['loss', 'task', 'distillation']
    """

    def __init__(
        self,
        teacher: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        *,
        weight: float = 0.5,
        temperature: float = 2.0,
        metrics: dict[str, Callable[[Any, Any], Tensor]] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ConfigError(f"Distillation: weight must lie between 0 and 1. Found: {weight!r}")
        if not temperature > 0:
            raise ConfigError(f"Distillation: temperature must be above 0. Found: {temperature!r}")
        self.teacher = teacher.eval().requires_grad_(False)
        self._loss, self._metrics = loss, metrics or {}
        self.weight, self.temperature = weight, temperature
        self.output: Tensor | None = None  # of the last batch of an evaluation, to be shown

    def train(self, mode: bool = True) -> "Distillation":
        """The teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        pictures, target = batch
        output = model(pictures)
        task = self._loss(output, target)
        if not model.training:
            self.output = output
            return {"loss": task} | {name: metric(output, target) for name, metric in self._metrics.items()}
        distilled = distillation_loss(output, self._asked(pictures), temperature=self.temperature)
        return {"loss": torch.lerp(task, distilled, self.weight), "task": task, "distillation": distilled}

    def _asked(self, pictures: Tensor) -> Tensor:
        first = next(self.teacher.parameters(), None)
        if first is not None and first.device != pictures.device:
            self.teacher.to(pictures.device)
        with torch.no_grad():
            return self.teacher(pictures)

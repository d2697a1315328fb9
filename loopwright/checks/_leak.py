"""Whether samples of a batch know of each other: the gradient of one's output with respect to another's input."""

from typing import Any

import torch
from torch import Tensor, nn

from ._feed import samples_of, selected
from ._subject import Subject
from ._verdict import CannotLook, Verdict, failed, passed, warning

_SAMPLES = 6
_SMALL = 1e-6  # of a sample's effect on itself: arithmetic, not a leak


def no_leak(subject: Subject, batch: Any) -> Verdict:
    """In evaluation mode each sample's output must depend on its own input only."""
    name = "samples apart"
    few = selected(batch, range(min(_SAMPLES, samples_of(batch))))
    if samples_of(few) < 2:
        raise CannotLook("it needs two samples")
    subject.model.eval()
    effects = _by_gradient(subject, few) if _differentiable(subject, few) else _by_exchange(subject, few)
    own = effects.diagonal().clone()
    others = effects.clone()
    others.fill_diagonal_(0)
    if not bool((effects > 0).any()):
        raise CannotLook("outputs do not depend on inputs at all")
    if bool((others > _SMALL * own.max()).any()):
        return _leaking(name, subject, others, own)
    return passed(
        name, f"the gradient of each of {len(own)} samples' outputs with respect to the others' inputs is 0, to its own "
        f"{float(own.mean()):.2g}", others=float(others.max()), own=float(own.mean()),
    )  # fmt: skip


def _leaking(name: str, subject: Subject, others: Tensor, own: Tensor) -> Verdict:
    i, j = divmod(int(others.argmax()), len(own))
    said = (
        f"in evaluation mode the output of sample {i} depends on the input of sample {j}: gradient "
        f"{float(others[i, j]):.2g}, on its own {float(own[i]):.2g}"
    )
    bare = [
        layer for layer in subject.model.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None
    ]  # fmt: skip
    if bare:
        return warning(
            name, f"{said}. {len(bare)} batch norms keep no running statistics", "track_running_stats=True, if samples are "
            "to be judged one by one", others=float(others.max()),
        )  # fmt: skip
    return failed(
        name, said, "look for view and reshape that mix the batch's axis with another, softmax or mean over axis 0, and "
        "attention without batch_first=True", others=float(others.max()), own=float(own.mean()),
    )  # fmt: skip


def _differentiable(subject: Subject, batch: Any) -> bool:
    inputs = subject.inputs(batch)
    return bool(inputs) and all(t.is_floating_point() and t.shape[:1] == (samples_of(batch),) for t in inputs)


def _by_gradient(subject: Subject, batch: Any) -> Tensor:
    """(N, N): the largest gradient of output i with respect to input j."""
    ready = subject.with_inputs(batch, lambda t: t.detach().clone().requires_grad_())
    inputs = subject.inputs(ready)
    with torch.enable_grad():
        output = subject.output(ready)
        if not output.requires_grad:
            raise CannotLook("the outputs have no gradient with respect to the inputs")
        weights = torch.linspace(0.5, 1.5, output[0].numel(), device=output.device).reshape(output[0].shape)
        rows = []
        for sample in output:
            gradients = torch.autograd.grad((sample * weights).sum(), inputs, retain_graph=True, allow_unused=True)
            found = [g.flatten(1).abs().amax(1) for g in gradients if g is not None]
            if not found:
                raise CannotLook("the outputs have no gradient with respect to the inputs")
            rows.append(torch.stack(found).amax(0))
    return torch.stack(rows).cpu()


def _by_exchange(subject: Subject, batch: Any) -> Tensor:
    """(N, N): how much output i changes when input j becomes that of its neighbour. For inputs without gradients."""
    count = samples_of(batch)
    with torch.no_grad():
        before = subject.output(batch)
        columns = []
        for j in range(count):
            order = list(range(count))
            order[j] = (j + 1) % count
            taken = torch.tensor(order)
            changed = subject.with_inputs(batch, lambda t, taken=taken: t[taken.to(t.device)])
            columns.append((subject.output(changed) - before).flatten(1).abs().amax(1))
    return torch.stack(columns, 1).cpu()

"""Does it learn: one batch by heart, from its inputs, at the optimizer's own rate. Judges curves."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from .._trial_step import needs_closure
from ._loss_facts import LossFacts
from ._subject import Subject
from ._training import RATES, Curve, dropout_off, overfit
from ._verdict import CannotLook, Verdict, failed, passed, warning

_STEPS = 15  # at the optimizer's own rate


def best_overfit(
    subject: Subject, batch: Any, facts: LossFacts, seconds: float, put_back: Callable[[], None], enough: float
) -> Curve:
    """The first training that comes far enough, else the one that came farthest; the model is as that one left it.

    Args:
        enough: share of the way to a perfect answer, after which no other rate is tried.
    """
    began, found = time.monotonic(), []
    for rate in RATES:
        left = seconds - (time.monotonic() - began)
        if found and left < 0.4 * seconds:
            break
        put_back()
        found.append(overfit(subject, batch, facts, left, rate))
        if facts.progress(found[0].start, found[-1].end) > enough or (math.isnan(facts.perfect) and _fell(found[-1])):
            return found[-1]
    best = min(found, key=lambda curve: math.inf if math.isnan(curve.end) else curve.end)
    if best is not found[-1]:
        put_back()
        overfit(subject, batch, facts, seconds, best.rate)
    return best


def _fell(curve: Curve) -> bool:
    return curve.end < 0.2 * curve.start


def one_batch(curve: Curve, facts: LossFacts, samples: int, dense: bool) -> Verdict:
    """Whether a few samples can be learnt by heart."""
    name = "one batch"
    numbers = {
        "start": curve.start,
        "end": curve.end,
        "perfect": facts.perfect,
        "steps": curve.steps,
        "rate": curve.rate,
    }
    said = (
        f"{samples} samples, {curve.steps} steps of Adam at {curve.rate:g}: the loss goes from {curve.start:.4g} to "
        f"{curve.end:.4g}"
    )
    if math.isnan(curve.end):
        return failed(name, f"{said}: NaN or infinite", "look for logarithms or roots of 0, and divisions", **numbers)
    if curve.end < 0 and curve.end < curve.start and not facts.perfect < 0:
        return failed(
            name, f"{said}: below 0, and falling without end", "is the sign of the loss wrong? A loss that is bounded "
            "ends with the right answers", **numbers,
        )  # fmt: skip
    progress = (
        facts.progress(curve.start, curve.end) if facts.prefers_right else (curve.start - curve.end) / abs(curve.start)
    )
    if math.isnan(progress):
        progress = (curve.start - curve.end) / (abs(curve.start) + 1e-12)
    if curve.cut and progress < 0.8 and not (dense and progress > 0.02):
        raise CannotLook(f"{said}: too few steps in the time there is; give seconds=, or check on a faster device")
    todo = "look at the model's last layer, the loss, and whether gradients reach all layers"
    if dense:  # every pixel is an answer: known by heart is more than a small network can hold
        if progress < 0.02:
            return failed(name, f"{said}: it does not learn", todo, progress=progress, **numbers)
        return passed(name, said, progress=progress, **numbers)
    said += (
        f", {progress:.0%} of the way to a perfect answer ({facts.perfect:.3g})"
        if not math.isnan(facts.perfect)
        else ""
    )
    if progress < 0.5:
        return failed(name, f"{said}: it cannot even learn these by heart", todo, progress=progress, **numbers)
    if progress < 0.8:
        return warning(name, said, todo, progress=progress, **numbers)
    return passed(name, said, progress=progress, **numbers)


def inputs_matter(subject: Subject, batch: Any, facts: LossFacts, real: Curve, seconds: float) -> Verdict:
    """Whether as many steps without inputs end worse: all inputs are zero or, where they are indices, the same."""
    name = "inputs matter"
    if not subject.inputs(batch):
        raise CannotLook("which tensors of a batch are inputs is not known")
    steps = max(20, len(real.losses))
    with subject.blind():
        blind = overfit(subject, batch, facts, seconds, real.rate, steps)
    numbers = {"with": real.end, "without": blind.end}
    said = f"with inputs the loss of one batch falls to {real.end:.4g}, with zeros instead to {blind.end:.4g}"
    if math.isnan(real.end) or math.isnan(blind.end):
        raise CannotLook(f"{said}: not a number")
    if not facts.prefers_right:
        raise CannotLook(f"{said}: says nothing while the loss has the wrong sign")
    gap = (blind.end - real.end) / (abs(real.start - real.end) + abs(blind.end - real.end) + 1e-12)
    if gap < 0.1 and (real.cut or blind.cut):
        raise CannotLook(f"{said}, in {blind.steps} steps: too few in the time there is")
    todo = "are inputs lost on the way: zeroed, detached, overwritten, or the wrong tensor? Look at the sheet"
    if gap < 0.02:
        return failed(name, f"{said}: it learns as much without looking", todo, gap=gap, **numbers)
    if gap < 0.1:
        return warning(name, f"{said}: looking helps little", todo, gap=gap, **numbers)
    return passed(name, said, gap=gap, **numbers)


def learning_rate(
    subject: Subject, batch: Any, optimizer: Optimizer, step: Callable[[Any], Any] | None, seconds: float
) -> Verdict:
    """Whether a few steps on one batch, with the user's optimizer or whole step, lower its loss."""
    name = "learning rate"
    subject.model.train()
    before, losses, began = _calm_loss(subject, batch), [], time.monotonic()
    for _ in range(_STEPS):
        losses.append(_own_step(subject, batch, optimizer) if step is None else _their_step(subject, batch, step))
        if not math.isfinite(losses[-1]) or (time.monotonic() - began > seconds and len(losses) >= 3):
            break
    after = _calm_loss(subject, batch)
    rate = float(optimizer.param_groups[0]["lr"])
    numbers = {"before": before, "after": after, "steps": len(losses), "lr": rate}
    who = type(optimizer).__name__ if step is None else f"step() with {type(optimizer).__name__}"
    said = f"{len(losses)} steps of {who} at {rate:g} take the loss of one batch from {before:.4g} to {after:.4g}"
    if not math.isfinite(after) or not all(map(math.isfinite, losses)):
        return failed(name, f"{said}: it explodes", f"try a tenth, {rate / 10:g}", **numbers)
    fell = (before - after) / (abs(before) + 1e-12)
    if fell < -0.2:
        todo = f"try a tenth, {rate / 10:g}" + (", and look at the sign of the gradient in step()" if step else "")
        return failed(name, f"{said}: it rises", todo, **numbers)
    if fell < 0.001:
        larger = "try ten times as much" if fell > -0.001 else "try a tenth"
        return warning(name, f"{said}: it does not fall", f"{larger}, or `loopwright find-lr`", **numbers)
    return passed(name, said, **numbers)


def _calm_loss(subject: Subject, batch: Any) -> float:
    """Without dropout, which would be noise here."""
    with dropout_off(subject.model), torch.no_grad():
        return float(subject.loss(batch))


def _own_step(subject: Subject, batch: Any, optimizer: Optimizer) -> float:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = subject.loss(batch)
        loss.backward()
        return loss

    with torch.enable_grad():
        if needs_closure(optimizer):
            return _number(optimizer.step(closure))  # type: ignore[arg-type] - it returns what the closure does
        loss = closure()
        optimizer.step()
        return _number(loss)


def _their_step(subject: Subject, batch: Any, step: Callable[[Any], Any]) -> float:
    with torch.enable_grad():
        result = step(batch)
    return 0.0 if result is None else _number(result["loss"] if isinstance(result, dict) else result)


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)

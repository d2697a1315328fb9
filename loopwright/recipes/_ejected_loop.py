"""The lines of the ejected program that train: the run, its epochs, a training step, the validation."""

from collections.abc import Iterator
from typing import Any

import torch

from .._code import Block, Line, Name, Row, Statement
from ._ejected_names import (
    IMAGES,
    LABELS,
    LOSS,
    LW,
    MODEL,
    OPTIMIZER,
    OUTPUT,
    TORCH,
    grows,
    is_own_module,
    is_weighted,
    judged,
    losses_of,
    optimizer_has_modes,
    stepped_with,
    takes_closure,
    train_loader,
    unless_default,
    weights_change,
)
from ._ejected_pieces import loss_name
from ._picture_settings import PictureSettings, SegmentSettings
from ._settings import CommonSettings, TrainSettings

BEST = "val/top1"
LOG, VALUES = Name("run.log"), Name("losses.values")


def run_line(s: CommonSettings) -> Statement:
    """How the run is opened."""
    options = unless_default(s, "save_every", "device", "precision", "deterministic", "nonfinite", "parallel")
    named: dict[str, Any] = {"classes": Name("train.classes")} if s.pictures else {}
    if isinstance(s, PictureSettings):
        named = {"classes": s.classes} if isinstance(s, SegmentSettings) else {}
    config = {"ejected_from": Name("EJECTED_FROM")}
    if s.trackers:
        options["trackers"] = [tracker.asked if tracker.arguments else tracker.name for tracker in s.trackers]
    return Statement("with ", LW.Run(Name("folder"), seed=s.seed, **named, config=config, **options), " as run:")


def judging_lines(s: CommonSettings, best: str) -> Iterator[Line]:
    """What follows from a validation: the best checkpoint, the end of patience, the rate of the next epoch."""
    yield Statement("", Name("run.keep_best")(best))
    if s.patience is not None:
        yield Statement("", Name("run.stop_when")(best, patience=s.patience))
    if stepped_with(s) == "epoch":
        yield "scheduler.step()"
    elif stepped_with(s) == "plateau":
        yield Statement("scheduler.step(", Name("run.value")(best), ")")


def epoch_lines(s: TrainSettings) -> Block:
    """The loop over epochs, and all that is in it."""
    body = [*_beginning(s), _training(s), *_swa(s), _validation(s), *judging_lines(s, BEST)]
    asks = s.unfreezing is not None or grows(s) or weights_change(s) or bool(s.swa)
    return Block(Statement(f"for {'epoch' if asks else '_'} in ", Name("run.epochs")(s.epochs), ":"), body)


def result_lines() -> Iterator[Line]:
    """What is said in the end."""
    shown = "print(f\"best: {best.metrics['val/top1']:.1%} in checkpoint {best.name}\")"
    yield Block(Statement("if best := ", Name("run.checkpoints.best")(BEST), ":"), [shown])


def _beginning(s: TrainSettings) -> Iterator[Line]:
    """What an epoch begins with."""
    if s.unfreezing is not None:
        yield "unfreezing(epoch)"
    if weights_change(s):
        yield "losses.at(epoch=epoch)"
    if grows(s) and s.workers != 0:
        starts = tuple(epoch for epoch, _ in s.sizes.items() if epoch)
        new = Statement("if epoch == ", starts[0], ":") if len(starts) == 1 else Statement("if epoch in ", starts, ":")
        yield Block(new, ["train_loaders(epoch - 1).close()  # its workers are done"])


# ---- a training step --------------------------------------------------------------------------------------------------


def _training(s: TrainSettings) -> Block:
    body: list[Line] = []
    if s.mix:
        mixed = Name("mix")(
            IMAGES, LABELS, seed=Name("run.seed"), step=Name("run.global_step"), first=Name("run.first_sample")
        )
        body.append(Statement("images, labels = ", mixed))
    if takes_closure(s):
        body += _closure(s)
    else:
        body += [*autocast(s, *_measured(s)), *step_lines(s), Statement("", LOG(*_unnamed(s), **_named(s)))]
    return Block(Statement("for images, labels in ", Name("run.batches")(train_loader(s)), ":"), body)


def _measured(s: TrainSettings) -> Iterator[Line]:
    """From images and labels to the loss."""
    if s.distill is None:
        yield Statement("loss = ", loss_name(s)(Name("model(images)"), LABELS))
        return
    temperature = {} if s.distill.temperature == 2 else {"temperature": s.distill.temperature}
    yield "output = model(images)"
    yield Statement("task = ", loss_name(s)(OUTPUT, LABELS))
    yield Statement("distillation = ", LW.distillation_loss(OUTPUT, Name("teacher(images)"), **temperature))
    yield Statement("loss = ", TORCH.lerp(Name("task"), Name("distillation"), s.distill.weight))


def _unnamed(s: TrainSettings) -> list[Name]:
    """What ``run.log`` is given without a name."""
    return [VALUES] if is_weighted(s) and s.distill is None else []


def _named(s: TrainSettings) -> dict[str, Name]:
    """What it is given by name."""
    if s.distill is not None:
        return {name: Name(name) for name in ("loss", "task", "distillation")}
    return {} if is_weighted(s) else {"loss": LOSS}


def step_lines(s: CommonSettings) -> Iterator[Line]:
    """``run.step``, as ``fit`` takes it: it knows fp16's scaler and short batches, and its norms are in the record."""
    scheduler = {"scheduler": Name("scheduler")} if stepped_with(s) == "step" else {}
    step = Name("run.step")(LOSS, OPTIMIZER, **unless_default(s, "accumulate", "clip"), **scheduler)
    if s.ema is None:
        yield Statement("", step)
    elif _always_steps(s):
        yield Statement("", step)
        yield "ema.update()"
    else:
        yield Block(Statement("if ", step, ":"), ["ema.update()"])


def _always_steps(s: CommonSettings) -> bool:
    return s.accumulate == 1 and s.precision != "fp16" and s.nonfinite in ("stop", "log")


def _closure(s: TrainSettings) -> Iterator[Line]:
    """The step of an optimizer that measures the loss as often as it likes; what is logged is from before it."""
    several = bool(_unnamed(s)) or s.distill is not None
    tensor = "from torch import Tensor"
    arguments = [Name("images: Tensor = images", tensor), Name("labels: Tensor = labels")]
    if several:
        yield "measured = []"
        arguments.append(Name("measured: list = measured"))
    values = VALUES if _unnamed(s) else {name: value.detach() for name, value in _named(s).items()}
    body: list[Line] = ["optimizer.zero_grad()", *autocast(s, *_measured(s)), "loss.backward()"]
    body += [Statement("", Name("measured.append")(values))] if several else []
    yield ""
    yield Block(Statement("", Name("def closure")(*arguments), " -> Tensor:"), [*body, "return loss.detach()"])
    yield ""
    yield "optimizer.step(closure)" if several else "run.log(loss=optimizer.step(closure))  # before the step"
    yield from ["ema.update()"] if s.ema is not None else []
    yield "optimizer.zero_grad()"
    yield from ["scheduler.step()"] if stepped_with(s) == "step" else []
    yield from ["run.log(measured[0])  # before the step"] if several else []


# ---- validation -------------------------------------------------------------------------------------------------------


def _swa(s: TrainSettings) -> Iterator[Line]:
    """The mean of the weights grows; before its first epoch there is none to measure."""
    if s.swa:
        yield Block(f"if epoch >= {s.swa}:", ["swa.update()"])
        chosen = f"swa.applied(model) if epoch >= {s.swa} else nullcontext()"
        yield Statement("averaged = ", Name(chosen, "from contextlib import nullcontext"))
    elif s.swa == 0:
        yield "swa.update()"


def _validation(s: TrainSettings) -> Block:
    measured = [*autocast(s, *_measured_in_validation(s)), *_shown(s)]
    loop = Block("for images, labels in run.batches(val_loader):", measured)
    return Block(Statement("with ", contexts(s), ":"), [*_batch_norm(s), loop])


def _measured_in_validation(s: TrainSettings) -> Iterator[Line]:
    yield Statement("output = ", judged(s)(IMAGES))
    loss = loss_name(s)(OUTPUT, LABELS)
    yield Statement("" if _unnamed(s) else "loss = ", loss)
    named = {} if _unnamed(s) else {"loss": LOSS}
    yield Statement("", LOG(*_unnamed(s), **named, top1=LW.topk_accuracy(OUTPUT, LABELS)))


def _shown(s: TrainSettings) -> Iterator[Line]:
    """What the model makes of the pictures goes into the record."""
    if s.pictures:
        most = {} if s.pictures == 16 else {"most": s.pictures}
        yield Statement("", Name("run.log_images")("val/samples", IMAGES, output=OUTPUT, target=LABELS, **most))


def contexts(s: CommonSettings) -> Row:
    """Modes, and weights, of what is measured."""
    has_modes = is_weighted(s) or any(map(is_own_module, losses_of(s)))
    contexts: list[Any] = [Name("run.evaluate")(judged(s), *([loss_name(s)] if has_modes else []))]
    if optimizer_has_modes(s):
        contexts.append(LW.evaluation_weights(OPTIMIZER))
    if s.ema is not None:
        contexts.append(Name("ema.applied")(MODEL))
    if s.swa is not None:
        contexts.append(Name("averaged") if s.swa else Name("swa.applied")(MODEL))
    return Row(contexts)


def _batch_norm(s: TrainSettings) -> Iterator[Line]:
    """The statistics of batch norm, measured again for the mean of the weights."""
    if s.swa is None:
        return
    lines = [
        Statement("", LW.update_batch_norm(MODEL, Name("run.batches")(train_loader(s)))),
        "swa.keep_buffers()",
    ]
    yield from [Block(f"if epoch >= {s.swa}:", lines)] if s.swa else lines


def autocast(s: CommonSettings, *lines: Line) -> list[Line]:
    """Within ``run.autocast()``, unless the configuration says that there is nothing to cast."""
    full = s.precision == "fp32" or (
        s.precision == "auto" and s.device != "auto" and torch.device(s.device).type != "cuda"
    )
    return [*lines] if full else [Block("with run.autocast():", lines)]

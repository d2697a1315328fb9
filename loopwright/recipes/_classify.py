"""The classification recipe: from settings to pieces, from pieces to ``fit``. It builds with public names only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._by_epoch import ByEpoch
from .._distributed import is_main
from .._errors import DataError
from .._fit import Fitted, fit
from .._metrics import topk_accuracy
from .._run import Run
from .._seed import seed_everything
from .._sheet import prediction_sheet
from .._weights import load_weights
from ..augment._by_name import build_mix
from ..augment._pipeline import BatchAugment
from ..data._augment import build_transform
from ..data._folder import ImageFolder
from ..data._loader import Loader
from ..data._open import open_data
from ..data._packed import Packed
from ..data._table import Table
from ..data._transforms import CenterCrop
from ..models._build import build_model
from ..optim._distill import Distillation
from ._optimisation import fit_options, make_loss, make_optimizer, make_scheduler, run_folder, start_model
from ._settings import TrainSettings

Pictures = ImageFolder | Packed | Table
SHEET = "predictions.png"


@dataclass(frozen=True)
class Pieces:
    """What a configuration stands for, ready for a loop."""

    train: Pictures
    val: Pictures
    train_loader: Loader  # at the last size
    val_loader: Loader
    model: nn.Module
    loss: Callable[..., Tensor]
    optimizer: Optimizer
    scheduler: Any
    loaders: ByEpoch[Loader]  # of all sizes
    augment: BatchAugment | None  # of batches
    compute: Distillation | None  # instead of the loss


def build(settings: TrainSettings) -> Pieces:
    """Build everything, in the order of the tutorial's loop: data, model, loss, optimizer, scheduler."""
    s = settings
    seed_everything(s.seed)
    train, val = (open_part(s, split) for split in ("train", "val"))
    _check_classes(s, train)
    loaders = s.sizes.map(lambda size: _train_loader(s, train, size))
    val_loader = Loader(val, 4 * s.batch_size, transform=CenterCrop(s.last_size), workers=s.workers)
    augment = build_mix([(mix.name, mix.arguments) for mix in s.mix], classes=len(train.classes))
    model = build_model(s.model.name, num_classes=len(train.classes), **s.model.arguments)
    start_model(s, model)
    optimizer = make_optimizer(s, model)
    scheduler = make_scheduler(s, optimizer, loaders)
    loss = make_loss(s.loss)
    compute = _distillation(s, loss, len(train.classes))
    return Pieces(train, val, loaders.last, val_loader, model, loss, optimizer, scheduler, loaders, augment, compute)


def _check_classes(s: TrainSettings, train: Pictures) -> None:
    if len(train.classes) == 1:  # any model is right at once, and learns nothing
        hint = "table.label names another column" if s.reads_table else "data is the folder of the class folders"
        raise DataError(f"{s.data} has one class only, {train.classes[0]!r}, so there is nothing to learn; {hint}")


def open_part(s: TrainSettings, split: str) -> Pictures:
    """The pictures of one split."""
    return open_data(s.data, split, holdout=s.holdout, on_error=s.on_error, **s.options_of(split))


def _train_loader(s: TrainSettings, train: Pictures, size: int) -> Loader:
    transform = build_transform([(step.name, step.arguments) for step in s.augment], size=size)
    weights = getattr(train, "weights", None)
    return Loader(
        train, s.batch_size, transform=transform, shuffle=weights is None, weights=weights, drop_last=s.drop_last,
        workers=s.workers, seed=s.seed,
    )  # fmt: skip


def _distillation(s: TrainSettings, loss: Callable[..., Tensor], classes: int) -> Distillation | None:
    if s.distill is None:
        return None
    asked = s.distill
    state = torch.get_rng_state()  # to build the teacher must not change what the model begins with
    teacher = build_model(asked.model.name, num_classes=classes, **asked.model.arguments)
    torch.set_rng_state(state)
    load_weights(teacher, asked.weights)
    return Distillation(
        teacher, loss, weight=asked.weight, temperature=asked.temperature, metrics={"top1": topk_accuracy}
    )


def train(settings: TrainSettings, **run_options: Any) -> Fitted:
    """Train as the settings say, and write a sheet of predictions into the run's folder."""
    pieces = build(settings)
    fitted = fit(
        pieces.model,
        pieces.loaders,
        pieces.val_loader,
        loss=pieces.loss if pieces.compute is None else None,
        compute=pieces.compute,
        optimizer=pieces.optimizer,
        scheduler=pieces.scheduler,
        metrics={"top1": topk_accuracy},
        augment=pieces.augment,
        tta=False if settings.tta is None else settings.tta.model_dump(),
        classes=pieces.train.classes,
        **fit_options(settings),
        **run_options,
    )
    if is_main():
        write_sheet(fitted, pieces)
    return fitted


def write_sheet(fitted: Fitted, pieces: Pieces) -> Path:
    """A PNG of right and wrong validation predictions, by the weights of the last step."""
    device = next(fitted.model.parameters()).device
    fitted.model.eval()
    guesses, confidences = [], []
    with torch.no_grad():
        for pictures, _ in pieces.val_loader.epoch_batches(0):
            normalize = pieces.val_loader.normalize or (lambda batch: batch)
            output = fitted.model(normalize(pictures.to(device)))
            confidence, guess = output.float().softmax(1).max(1)
            guesses.append(guess.cpu())
            confidences.append(confidence.cpu())
    pieces.val_loader.close()
    path = fitted.folder / SHEET
    shown = [index for index in range(len(pieces.val)) if not _was_skipped(pieces, index)]
    prediction_sheet(
        path,
        _Pictures(pieces.val, shown),
        [pieces.val.labels[index] for index in shown],
        torch.cat(guesses),
        torch.cat(confidences),
        class_names=pieces.val.classes,
        title=str(fitted.folder),
    )
    return path


def dry_run(settings: TrainSettings) -> list[str]:
    """Resolve everything and try one batch of each phase; trains nothing and writes nothing. Returns the plan's lines."""
    pieces = build(settings)
    run = Run(
        run_folder(settings), seed=settings.seed, device=settings.device, precision=settings.precision,
        nonfinite=settings.nonfinite, trackers=[tracker.asked for tracker in settings.trackers],
    )  # fmt: skip
    model = pieces.model.to(run.device)
    lines = [
        f"data       {settings.data}: {len(pieces.train)} training and {len(pieces.val)} validation pictures "
        f"of {len(pieces.train.classes)} classes",
        f"model      {settings.model.name}: {sum(p.numel() for p in model.parameters()):,} parameters",
        f"length     {settings.epochs} x {len(pieces.train_loader)} steps of {settings.batch_size} pictures",
        *_parts(settings, pieces),
        f"run        {run.folder}",
        *(f"{name:<10} {reason}" for name, reason in run.compute.reasons.items()),
    ]
    for phase, loader in (("train", pieces.loaders(0)), ("val", pieces.val_loader)):
        lines.append(f"{phase:<10} {_try_batch(run, model, pieces, loader, backward=phase == 'train')}")
    return lines


def _parts(settings: TrainSettings, pieces: Pieces) -> list[str]:
    """A line for each part of the training that is not there by default."""
    s = settings
    frozen = sum(p.numel() for p in pieces.model.parameters() if not p.requires_grad)
    rates = sorted({float(group["lr"]) for group in pieces.optimizer.param_groups})
    found = {
        "sizes": _listed(s.image_size) if isinstance(s.image_size, dict) else None,
        "rates": f"{len(rates)} learning rates, {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) > 1 else None,
        "warm-up": s.scheduler.warmup or None,
        "mix": None if pieces.augment is None else pieces.augment.members[0],
        "ema": s.ema,
        "swa": None if s.swa is None else f"from epoch {s.swa} on",
        "tta": s.tta,
        "distill": s.distill,
        "frozen": f"{frozen:,} parameters" if frozen else None,
        "unfreeze": _listed(s.unfreeze) or None,
    }
    return [f"{name:<10} {value}" for name, value in found.items() if value is not None]


def _listed(by_epoch: Mapping[str, Any]) -> str:
    return ", ".join(f"{epoch}: {value}" for epoch, value in by_epoch.items())


def _try_batch(run: Run, model: nn.Module, pieces: Pieces, loader: Loader, *, backward: bool) -> str:
    batch = run.compute.move(next(iter(loader.epoch_batches(0))))
    loader.close()
    pictures, labels = batch if loader.normalize is None else loader.normalize(batch)
    if backward and pieces.augment is not None:
        pictures, labels = pieces.augment(pictures, labels, seed=run.seed, step=1)
    if isinstance(pieces.loss, nn.Module):
        pieces.loss.to(run.device).train(backward)
    model.train(backward)
    with torch.set_grad_enabled(backward), run.autocast():
        value = pieces.loss(model(pictures), labels)
    if backward:
        value.backward()
        model.zero_grad()
    return (
        f"one batch: pictures {tuple(pictures.shape)} {pictures.dtype}, labels {tuple(labels.shape)}, loss {value:.4f}"
    )


class _Pictures(Sequence[Any]):
    """The pictures of some samples, each opened when it is asked for."""

    def __init__(self, dataset: Pictures, indices: list[int]) -> None:
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: Any) -> Any:
        return self._dataset[self._indices[place]][0]


def _was_skipped(pieces: Pieces, index: int) -> bool:
    name = pieces.val.name_of(index)
    return any(message.startswith(f"{name}:") for message in pieces.val_loader.skipped)

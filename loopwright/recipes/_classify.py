"""The classification recipe: from settings to pieces, from pieces to ``fit``. It builds with public names only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._errors import ConfigError
from .._fit import Fitted, fit
from .._metrics import topk_accuracy
from .._resume import free_folder
from .._run import Run
from .._seed import seed_everything
from .._sheet import prediction_sheet
from .._weights import load_weights
from ..data._augment import build_transform
from ..data._folder import ImageFolder
from ..data._loader import Loader
from ..data._open import open_data
from ..data._packed import Packed
from ..data._transforms import CenterCrop
from ..models._build import build_model
from ..optim._groups import param_groups
from ..optim._losses import build_loss
from ..optim._optimizers import build_optimizer
from ..optim._schedulers import build_scheduler, total_steps
from ._settings import TrainSettings

SHEET = "predictions.png"


@dataclass(frozen=True)
class Pieces:
    """What a configuration stands for, ready for a loop."""

    train: ImageFolder | Packed
    val: ImageFolder | Packed
    train_loader: Loader
    val_loader: Loader
    model: nn.Module
    loss: Callable[..., Tensor]
    optimizer: Optimizer
    scheduler: Any


def build(settings: TrainSettings) -> Pieces:
    """Build everything, in the order of the tutorial's loop: data, model, loss, optimizer, scheduler."""
    s = settings
    seed_everything(s.seed)
    train = open_data(s.data, "train", holdout=s.holdout, on_error=s.on_error)
    val = open_data(s.data, "val", holdout=s.holdout, on_error=s.on_error)
    augment = build_transform([(step.name, step.arguments) for step in s.augment], size=s.image_size)
    train_loader = Loader(
        train, s.batch_size, transform=augment, shuffle=True, drop_last=s.drop_last, workers=s.workers, seed=s.seed
    )
    val_loader = Loader(val, 4 * s.batch_size, transform=CenterCrop(s.image_size), workers=s.workers)
    model = build_model(s.model.name, num_classes=len(train.classes), **s.model.arguments)
    if s.weights is not None:
        _start_from(model, s.weights)
    optimizer = build_optimizer(
        s.optimizer.name,
        param_groups(model, weight_decay=s.optimizer.weight_decay),
        lr=s.optimizer.lr,
        **s.optimizer.arguments,
    )
    steps = total_steps(train_loader, s.epochs, accumulate=s.accumulate)
    scheduler = build_scheduler(s.scheduler.name, optimizer, total_steps=steps, **s.scheduler.arguments)
    loss = build_loss(s.loss.name, **s.loss.arguments)
    return Pieces(train, val, train_loader, val_loader, model, loss, optimizer, scheduler)


def train(settings: TrainSettings, **run_options: Any) -> Fitted:
    """Train as the settings say, and write a sheet of predictions into the run's folder."""
    pieces = build(settings)
    fitted = fit(
        pieces.model,
        pieces.train_loader,
        pieces.val_loader,
        loss=pieces.loss,
        optimizer=pieces.optimizer,
        scheduler=pieces.scheduler,
        metrics={"top1": topk_accuracy},
        epochs=settings.epochs,
        accumulate=settings.accumulate,
        clip=settings.clip,
        patience=settings.patience,
        run=run_folder(settings),
        seed=settings.seed,
        config=settings,
        save_every=settings.save_every,
        device=settings.device,
        precision=settings.precision,
        deterministic=settings.deterministic,
        **run_options,
    )
    write_sheet(fitted, pieces)
    return fitted


def run_folder(settings: TrainSettings) -> Path:
    """The folder of the settings, else the first free one of runs/DATA-MODEL, runs/DATA-MODEL-2, ..."""
    if settings.run is not None:
        return Path(settings.run)
    data = Path(settings.data).resolve().name
    return free_folder(
        Path("runs") / f"{data}-{settings.model.name.replace('/', '-').replace(':', '-')}", settings.model_dump()
    )


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
    run = Run(run_folder(settings), seed=settings.seed, device=settings.device, precision=settings.precision)
    model = pieces.model.to(run.device)
    lines = [
        f"data       {settings.data}: {len(pieces.train)} training and {len(pieces.val)} validation pictures "
        f"of {len(pieces.train.classes)} classes",
        f"model      {settings.model.name}: {sum(p.numel() for p in model.parameters()):,} parameters",
        f"length     {settings.epochs} x {len(pieces.train_loader)} steps of {settings.batch_size} pictures",
        f"run        {run.folder}",
        *(f"{name:<10} {reason}" for name, reason in run.compute.reasons.items()),
    ]
    for phase, loader in (("train", pieces.train_loader), ("val", pieces.val_loader)):
        lines.append(f"{phase:<10} {_try_batch(run, model, pieces.loss, loader, backward=phase == 'train')}")
    return lines


def _try_batch(run: Run, model: nn.Module, loss: Callable[..., Tensor], loader: Loader, *, backward: bool) -> str:
    batch = run.compute.move(next(iter(loader.epoch_batches(0))))
    loader.close()
    pictures, labels = batch if loader.normalize is None else loader.normalize(batch)
    model.train(backward)
    with torch.set_grad_enabled(backward), run.autocast():
        value = loss(model(pictures), labels)
    if backward:
        value.backward()
        model.zero_grad()
    return (
        f"one batch: pictures {tuple(pictures.shape)} {pictures.dtype}, labels {tuple(labels.shape)}, loss {value:.4f}"
    )


class _Pictures(Sequence[Any]):
    """The pictures of some samples, each opened when it is asked for."""

    def __init__(self, dataset: ImageFolder | Packed, indices: list[int]) -> None:
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: Any) -> Any:
        return self._dataset[self._indices[place]][0]


def _was_skipped(pieces: Pieces, index: int) -> bool:
    name = pieces.val.name_of(index)
    return any(message.startswith(f"{name}:") for message in pieces.val_loader.skipped)


def _start_from(model: nn.Module, weights: str) -> None:
    report = load_weights(model, weights, strict=False)
    print(f"weights    {weights}: {report}")
    if not report.loaded:
        raise ConfigError(f"weights: nothing in {weights} fits the {type(model).__name__}: {report}")

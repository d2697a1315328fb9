"""The segmentation recipe: from settings to pieces, from pieces to ``fit``. It builds with public names only."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._distributed import is_main
from .._fit import Fitted, fit
from .._metrics import Confusion
from .._overlay import overlay
from .._seed import seed_everything
from .._sheet import picture_grid
from ..data._loader import Loader
from ..data._normalize import Normalize
from ..models._tiled_model import Tiled
from ..optim._losses import build_loss
from ._optimisation import Loss, fit_options, make_loss, make_optimizer, make_scheduler, start_model
from ._pairs import open_pairs, picture_model, plan_lines, train_loader, val_loader
from ._picture_settings import SegmentSettings, TargetLossSettings

SHEET = "segmented.png"
_SHOWN = 4  # pictures on it
PIXELS = "pixels"  # the figures over all pixels: val/pixels/mean_iou, accuracy, mean_recall
BEST = f"val/{PIXELS}/mean_iou"


@dataclass(frozen=True)
class Pieces:
    """What a configuration stands for, ready for a loop."""

    train: Any
    val: Any
    train_loader: Loader
    val_loader: Loader
    model: nn.Module
    loss: Loss
    confusion: Confusion
    optimizer: Optimizer
    scheduler: Any


def build(settings: SegmentSettings) -> Pieces:
    """Build everything, in the order of a loop: data, model, loss, optimizer, scheduler."""
    s = settings
    seed_everything(s.seed)
    train, val = open_pairs(s, "train"), open_pairs(s, "val")
    batches, whole = train_loader(s, train), val_loader(s, val)
    model = picture_model(s)
    start_model(s, model)
    optimizer = make_optimizer(s, model)
    scheduler = make_scheduler(s, optimizer, batches)
    loss = make_loss(ignoring(s))
    confusion = Confusion(len(s.classes), s.classes, ignore_index=s.ignore)
    return Pieces(train, val, batches, whole, model, loss, confusion, optimizer, scheduler)


def train(settings: SegmentSettings, **run_options: Any) -> Fitted:
    """Train as the settings say, and write a sheet of segmented pictures into the run's folder."""
    pieces = build(settings)
    fitted = fit(
        pieces.model,
        pieces.train_loader,
        pieces.val_loader,
        loss=pieces.loss,
        optimizer=pieces.optimizer,
        scheduler=pieces.scheduler,
        metrics={PIXELS: pieces.confusion},
        best=BEST,
        inputs=settings.input_names,
        targets=settings.target_names,
        tile=settings.tiles,
        classes=settings.classes,
        **fit_options(settings),
        **run_options,
    )
    if is_main():
        write_sheet(fitted, pieces, settings)
    return fitted


def ignoring(s: SegmentSettings) -> Any:
    """The losses, told which label does not count where they can be."""

    def told(loss: TargetLossSettings) -> TargetLossSettings:
        if s.ignore is None or "ignore_index" in loss.arguments or loss.name.endswith(":"):
            return loss
        made = build_loss(loss.name, **loss.arguments)
        knows = "ignore_index" in (vars(made) if isinstance(made, nn.Module) else inspect.signature(made).parameters)
        return loss.model_copy(update={"ignore_index": s.ignore}) if knows else loss

    return [told(loss) for loss in s.loss] if isinstance(s.loss, list) else told(s.loss)


def write_sheet(fitted: Fitted, pieces: Pieces, s: SegmentSettings) -> Path:
    """A PNG with a few validation pictures: with the masks that were predicted, and the true ones."""
    device = next(fitted.model.parameters()).device
    model = Tiled(fitted.model, **s.tiles) if s.tiles else fitted.model
    model.eval()
    shown: list[Any] = []
    first, (target,) = s.input_names[0], s.target_names
    show = Normalize().inverse if s.roles[first].kind == "picture" else _as_bytes
    for number, batch in enumerate(pieces.val_loader.epoch_batches(0)):
        if number == _SHOWN:
            break
        parts = pieces.val_loader.normalize(batch) if pieces.val_loader.normalize else batch
        with torch.no_grad():
            found = model(*(parts[name].to(device) for name in s.input_names)).argmax(1)
        picture = show(parts[first])[0]
        shown += [picture, *(overlay(picture, mask, ignore=s.ignore) for mask in (found[0].cpu(), parts[target][0]))]
    pieces.val_loader.close()
    path = fitted.folder / SHEET
    if shown and shown[0].shape[0] in (1, 3):
        captions = ["picture", "predicted", "truth"] * (len(shown) // 3)
        picture_grid(shown, captions, columns=3, side=240, title=str(fitted.folder), path=path)
    return path


def _as_bytes(pictures: Tensor) -> Tensor:
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)


def dry_run(settings: SegmentSettings) -> list[str]:
    """Resolve everything and try one batch of each phase; trains nothing and writes nothing. Returns the plan's lines."""
    return plan_lines(settings, build(settings), f"pictures of {len(settings.classes)} classes")

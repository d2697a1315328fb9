"""The restoration recipe: from settings to pieces, from pieces to ``fit``. It builds with public names only."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._distributed import is_main
from .._fit import Fitted, fit
from .._picture_metrics import mae, psnr, quantized, ssim
from .._seed import seed_everything
from .._sheet import picture_grid
from ..data._loader import Loader
from ..models._tiled_model import Tiled
from ..optim._of_target import OfTarget
from ._optimisation import Loss, fit_options, make_loss, make_optimizer, make_scheduler, start_model
from ._pairs import open_pairs, picture_model, plan_lines, train_loader, val_loader
from ._picture_settings import RestoreSettings, TargetLossSettings

SHEET = "restored.png"
_SHOWN = 4  # pictures on it


@dataclass(frozen=True)
class Pieces:
    """What a configuration stands for, ready for a loop."""

    train: Any
    val: Any
    train_loader: Loader
    val_loader: Loader
    model: nn.Module
    loss: Loss
    metrics: dict[str, Callable[[Any, Any], Tensor]]
    optimizer: Optimizer
    scheduler: Any


def build(settings: RestoreSettings) -> Pieces:
    """Build everything, in the order of a loop: data, model, loss, optimizer, scheduler."""
    s = settings
    seed_everything(s.seed)
    train, val = open_pairs(s, "train"), open_pairs(s, "val")
    batches, whole = train_loader(s, train), val_loader(s, val)
    model = picture_model(s)
    start_model(s, model)
    optimizer = make_optimizer(s, model)
    scheduler = make_scheduler(s, optimizer, batches)
    loss = make_loss(_for_targets(s), _of_target(s))
    return Pieces(train, val, batches, whole, model, loss, make_metrics(s), optimizer, scheduler)


def train(settings: RestoreSettings, **run_options: Any) -> Fitted:
    """Train as the settings say, and write a sheet of restored pictures into the run's folder."""
    pieces = build(settings)
    fitted = fit(
        pieces.model,
        pieces.train_loader,
        pieces.val_loader,
        loss=pieces.loss,
        optimizer=pieces.optimizer,
        scheduler=pieces.scheduler,
        metrics=pieces.metrics,
        inputs=settings.input_names,
        targets=settings.target_names,
        tile=settings.tiles,
        **fit_options(settings),
        **run_options,
    )
    if is_main():
        write_sheet(fitted, pieces, settings)
    return fitted


def make_metrics(s: RestoreSettings) -> dict[str, Callable[[Any, Any], Tensor]]:
    """PSNR, SSIM and MAE of each target, of pictures as they would be written."""
    of_all = {"psnr": psnr, "ssim": ssim, "mae": mae}
    made: dict[str, Callable[[Any, Any], Tensor]] = {}
    for target in s.target_names:
        for name, metric in of_all.items():
            measure = functools.partial(_measured, metric, s.roles[target].kind != "raw", s.border, s.luminance)
            several = len(s.target_names) > 1
            made[f"{name}_{target}" if several else name] = OfTarget(target, measure) if several else measure
    return made


def _measured(
    metric: Callable[..., Tensor], in_bytes: bool, border: int, luminance: bool, output: Tensor, target: Tensor
) -> Tensor:
    written = quantized(output) if in_bytes else output.float()
    return metric(written, target, border=border, luminance=luminance and target.shape[1] == 3)


def _for_targets(s: RestoreSettings) -> Any:
    """The losses, where there are several targets one for each."""
    if len(s.target_names) == 1:
        return s.loss
    return [
        loss.model_copy(update={"target": target})
        for loss in s.losses
        for target in ([loss.target] if isinstance(loss, TargetLossSettings) and loss.target else s.target_names)
    ]


def _of_target(s: RestoreSettings) -> Callable[[Any, Loss], Loss]:
    several = len(s.target_names) > 1
    return lambda asked, loss: OfTarget(asked.target, loss) if several else loss


def write_sheet(fitted: Fitted, pieces: Pieces, s: RestoreSettings) -> Path:
    """A PNG with a few validation pictures: input, output and target side by side, by the weights of the last step."""
    device = next(fitted.model.parameters()).device
    model = Tiled(fitted.model, **s.tiles) if s.tiles else fitted.model
    model.eval()
    shown: list[Tensor] = []
    captions: list[str] = []
    first_input, first_target = s.input_names[0], s.target_names[0]
    for number, batch in enumerate(pieces.val_loader.epoch_batches(0)):
        if number == _SHOWN:
            break
        parts = pieces.val_loader.normalize(batch) if pieces.val_loader.normalize else batch
        with torch.no_grad():
            output = model(*(parts[name].to(device) for name in s.input_names))
        output = output[first_target] if isinstance(output, dict) else output
        output = output[0] if isinstance(output, list | tuple) else output
        shown += [quantized(part[0].cpu()) for part in (parts[first_input], output, parts[first_target])]
        measured = psnr(quantized(output.cpu()), parts[first_target])[0]
        captions += ["input", f"output, {measured:.2f} dB", "target"]
    pieces.val_loader.close()
    path = fitted.folder / SHEET
    if all(part.shape[0] in (1, 3) for part in shown):
        picture_grid(shown, captions, columns=3, side=240, title=str(fitted.folder), path=path)
    return path


def dry_run(settings: RestoreSettings) -> list[str]:
    """Resolve everything and try one batch of each phase; trains nothing and writes nothing. Returns the plan's lines."""
    inputs, targets = ", ".join(settings.input_names), ", ".join(settings.target_names)
    return plan_lines(settings, build(settings), f"samples of {inputs} to {targets}")

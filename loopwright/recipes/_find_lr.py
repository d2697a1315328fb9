"""``loopwright find-lr``: the learning rate that a configuration's training is to have, found by trying.

python -m loopwright find-lr data=photos model=resnet18 optimizer=SGD
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .._device import choose_compute
from .._distributed import is_main, position
from .._errors import ConfigError, MissingExtra
from .._find_lr import find_lr
from .._found_lr import FoundLR, Mode
from .._lr_curve import LRCurve
from .._yaml_edit import write_number
from ..data._slice import Slice
from ..optim._freeze import Unfreezing
from ._any_task import build, loss_of
from ._classify import Pieces
from ._picture_settings import PictureSettings
from ._settings import CommonSettings

KEY = "optimizer.lr"
NAME = "lr"
_DO_NOT_COUNT = {"data", "run", "epochs", "workers", "seed", "device", "precision", "save_every", "patience",
                 "pictures", KEY}  # fmt: skip


def find_rate(
    settings: CommonSettings,
    *,
    mode: Mode = "ramp",
    ramps: int = 8,
    steps: int | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> FoundLR:
    """Try rates in the training that the settings stand for, and say each; the last line is the setting to use.

    ``out`` is a folder for the curves: lr.json, and lr.png where matplotlib is installed.
    """
    if not is_main():
        say, out = _hushed, None
    compute = choose_compute(settings.device, settings.precision, position().local_rank)
    pieces = build(settings)
    compute.place(pieces.model)
    size = settings.last_size  # type: ignore[attr-defined] - of each task
    say(
        f"find-lr    {settings.data}, {settings.model.name} at {size} px, {settings.optimizer.name}, "
        f"batches of {settings.batch_size}, {compute.precision} on {compute.device}"
    )
    if settings.unfreezing is not None:
        say(_begin_unfreezing(pieces.model, settings.unfreezing))
    found = find_lr(
        _whole(settings, pieces),
        pieces.optimizer,
        pieces.train_loader,
        mode=mode,
        ramps=ramps,
        steps=steps,
        accumulate=settings.accumulate,
        clip=settings.clip,
        precision=compute.precision,
        seed=settings.seed,
        on_curve=lambda curve: say(_line(curve)),
    )
    for line in (found.table(), f"because    {found.reason}", f"between    {found.low:.2g} and {found.high:.2g}"):
        say(line)
    if out is not None:
        say(_written(found, out))
    say(f"{KEY}={found.lr!r}")
    return found


def _begin_unfreezing(model: nn.Module, epochs: Mapping[int, Any]) -> str:
    """Train what the training begins with; says so."""
    Unfreezing(model, epochs)(0)
    parameters = list(model.parameters())
    trained, whole = sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
    return (
        f"trained    {trained:,} of {whole:,} parameters, as in epoch 0 of unfreeze: later epochs train more of them "
        "with a rate that was found for these"
    )


def _whole(settings: CommonSettings, pieces: Any) -> nn.Module:
    if isinstance(settings, PictureSettings):
        return _WholePairs(settings, pieces)
    return _Whole(pieces, settings.seed, Slice(*position()[:2]).of(settings.batch_size)[0])


class _Whole(nn.Module):
    """The model with all that the settings put between a batch and its loss."""

    def __init__(self, pieces: Pieces, seed: int, first: int) -> None:
        super().__init__()
        self.model = pieces.model
        self._augment, self._loss, self._compute = pieces.augment, pieces.loss, pieces.compute
        self._seed, self._step = seed, 0  # each trial begins with the first step
        self._first = first  # this rank's place in a batch of all

    def forward(self, pictures: Any, labels: Any) -> Any:
        if self._augment is not None and self.training:
            pictures, labels = self._augment(pictures, labels, seed=self._seed, step=self._step, first=self._first)
            self._step += 1
        if self._compute is not None:
            return self._compute(self.model, (pictures, labels))
        return self._loss(self.model(pictures), labels)


class _WholePairs(nn.Module):
    """The same of pictures by their roles."""

    def __init__(self, settings: PictureSettings, pieces: Any) -> None:
        super().__init__()
        self.model, self.loss = pieces.model, pieces.loss  # a loss that is a module is put back, too
        self._loss_of = loss_of(settings, pieces)

    def forward(self, **batch: Any) -> Any:
        return self._loss_of(self.model, batch)


def write_rate(found: FoundLR, path: Path, overrides: Sequence[str], say: Callable[[str], None] = print) -> None:
    """Put the rate into a configuration file; see ``check_overrides``."""
    check_overrides(path, overrides)
    write_number(path, KEY, found.lr)
    say(f"written    {path}: {KEY} is {found.lr!r}, all else is as it was")


def check_overrides(path: Path | None, overrides: Sequence[str]) -> None:
    """Refuse to write a rate where it would be used with another training than the one that it was found with."""
    if path is None:
        raise ConfigError(
            "--write puts the rate into a configuration file: name one, loopwright find-lr CONFIG.yaml --write"
        )
    others = [text for text in overrides if text.partition("=")[0].strip() not in _DO_NOT_COUNT]
    if others:
        raise ConfigError(
            f"--write: the rate would be found with {' '.join(others)} and used without: put that into {path} first, or "
            "leave --write out"
        )


def _hushed(_: str) -> None:
    """Rank 0 says it."""


def _line(curve: LRCurve) -> str:
    end = curve.stopped or "to its end"
    tried = f"{curve.lr[0]:.2g}" if curve.lr[0] == curve.lr[-1] else f"{curve.lr[0]:.2g} .. {curve.lr[-1]:.2g}"
    losses = f"loss {curve.smoothed[0]:.4g}, at best {min(curve.smoothed):.4g}"
    return f"tried      {tried:<20} {len(curve.lr):>4} steps, {losses}, {end}"


def _written(found: FoundLR, out: Path) -> str:
    table = found.write_json(out / f"{NAME}.json")
    try:
        return f"curves     {table}, {found.save(out / f'{NAME}.png')}"
    except MissingExtra as missing:
        return f"curves     {table}; no picture: {missing}"

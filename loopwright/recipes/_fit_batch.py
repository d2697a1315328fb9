"""``loopwright fit-batch``: the largest batch that a configuration trains with. It writes nothing.

python -m loopwright fit-batch data=photos model=resnet50 image_size=224
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._device import Compute, choose_compute
from .._fit_batch import BatchFit, Tried, fit_batch
from .._staging import bytes_of
from .._stepper import Stepper
from ..data._size import shown_size
from ..models._tiled_model import Tiled
from ._any_task import batch_maker, build, loss_of
from ._picture_settings import PictureSettings
from ._settings import CommonSettings

START = 2  # batch normalisation needs more than one value a channel
VALIDATION = 4  # times as many pictures at once


def find_batch(
    settings: CommonSettings,
    *,
    margin: float = 0.1,
    memory_limit: int | str | None = None,
    ranks: int = 1,
    say: Callable[[str], None] = print,
) -> BatchFit:
    """Try batches of the training that the settings stand for, and say each; the last line is the setting to use.

    Of several ranks the part of one is tried, beside the second copy of the gradients in which ranks add them up; the
    setting is for all of them together.
    """
    compute = choose_compute(settings.device, settings.precision)
    pieces = build(settings)
    compute.place(pieces.model)
    size = settings.last_size  # type: ignore[attr-defined] - of each task
    say(
        f"fit-batch  {settings.data}, {settings.model.name} at {size} px, {settings.optimizer.name}, "
        f"{compute.precision} on {compute.device}"
    )
    buckets = [torch.empty_like(p) for p in pieces.model.parameters() if p.requires_grad and ranks > 1]
    if ranks > 1:
        shared = "" if compute.device.type != "cpu" else "; all of this machine share its memory, which is not counted"
        say(f"ranks      {ranks}: tried is the part of one, with {shown_size(bytes_of(buckets))} for the sums{shared}")
    found = fit_batch(
        _Trial(settings, pieces, compute),
        start=START,
        most=max(START, pieces.train_loader.samples // ranks),
        margin=margin,
        device=compute.device,
        memory_limit=memory_limit,
        restore=(pieces.model, pieces.optimizer),
        on_trial=lambda tried: say(_line(tried)),
    )
    for line in _result(settings, found, pieces.train_loader.samples, ranks):
        say(line)
    return found


class _Trial:
    """One step of ``loopwright train``, and one batch of its validation: on noise, or one sample over and over.

    Tasks of pictures validate one whole picture at a time: here the first.
    """

    def __init__(self, settings: CommonSettings, pieces: Any, compute: Compute) -> None:
        self._settings, self._pieces, self._compute = settings, pieces, compute
        self._loss_of, self._make = loss_of(settings, pieces), batch_maker(settings, pieces)
        self._judged, self._whole = pieces.model, None
        if isinstance(settings, PictureSettings):
            if settings.tiles:
                self._judged = Tiled(pieces.model, **settings.tiles)
            self._whole = next(iter(pieces.val_loader.epoch_batches(0)))
            pieces.val_loader.close()

    def __call__(self, size: int) -> None:
        self._step(size)
        self._validate(min(VALIDATION * size, len(self._pieces.val)))

    def _step(self, size: int) -> None:
        s, pieces = self._settings, self._pieces
        scaler = torch.amp.GradScaler(self._compute.device.type) if self._compute.precision == "fp16" else None
        stepper = Stepper(pieces.optimizer, scaler)
        pieces.model.train()
        ahead = self._batch(size)  # a loop has the next batch on the device while it computes on one
        for _ in range(min(2, s.accumulate)):  # the second has the gradients of the first beside it
            batch, ahead = ahead, self._batch(size)
            stepper.add(self._loss(batch), size, s.clip, None)
        stepper.step()

    def _validate(self, size: int) -> None:
        self._judged.eval()
        with torch.no_grad():
            if self._whole is not None:
                whole, normalize = self._compute.move(self._whole), self._pieces.val_loader.normalize
                self._loss(whole if normalize is None else normalize(whole))
                return
            ahead = self._batch(size)
            self._loss(self._batch(size))
            del ahead

    def _loss(self, batch: Any) -> Tensor:
        model = self._pieces.model
        with self._compute.autocast():
            return self._loss_of(model if model.training else self._judged, batch)

    def _batch(self, size: int) -> Any:
        return self._make(size, self._compute.device)


def _line(tried: Tried) -> str:
    return f"tried      {tried.batch:>6} {shown_size(tried.bytes):>10}  {'fits' if tried.ok else 'too large'}"


def _result(settings: CommonSettings, found: BatchFit, pictures: int, ranks: int) -> list[str]:
    lines = [f"largest    {found}"]
    largest = found.batch_size * ranks
    if found.batch_size == pictures // ranks:
        lines.append(
            "all        the whole of the training pictures fits: the speed or the accuracy decides, not the memory"
        )
    if settings.batch_size > largest:
        parts = -(-settings.batch_size // largest)
        size = -(-settings.batch_size // parts)
        lines.append(
            f"instead    batch_size={size} accumulate={parts * settings.accumulate} for steps of {size * parts}"
        )
    return [*lines, f"batch_size={largest}"]

"""What commands that try a training ask of any task: its pieces, the loss of a batch, batches of any size."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._fit import Parts
from . import _classify, _restore, _segment
from ._picture_settings import PictureSettings
from ._settings import CommonSettings

_BUILD: dict[str, Callable[[Any], Any]] = {
    "classify": _classify.build, "restore": _restore.build, "segment": _segment.build,
}  # fmt: skip


def build(settings: CommonSettings) -> Any:
    """The pieces of a training, of whichever task."""
    return _BUILD[task_of(settings)](settings)


def task_of(settings: CommonSettings) -> str:
    return str(getattr(settings, "task", "classify"))


def loss_of(settings: CommonSettings, pieces: Any) -> Callable[[nn.Module, Any], Tensor]:
    """From a model and a normalised batch to the loss, without augmentation of batches."""
    if not isinstance(settings, PictureSettings):
        return lambda model, batch: pieces.loss(model(batch[0]), batch[1])
    parts = Parts(tuple(settings.input_names), tuple(settings.target_names))

    def loss(model: nn.Module, batch: Any) -> Tensor:
        inputs, target = parts.split(batch)
        return pieces.loss(parts.named(model(*inputs)), target)

    return loss


def batch_maker(settings: CommonSettings, pieces: Any) -> Callable[[int, torch.device], Any]:
    """A function that gives training batches of any size on a device: 8-bit noise of classifiers, else one sample of the
    data over and over, which has the parts, sizes and types of the others."""
    normalize = pieces.train_loader.normalize or (lambda batch: batch)
    if isinstance(settings, PictureSettings):
        first = next(iter(pieces.train_loader.epoch_batches(0)))
        pieces.train_loader.close()
        sample = {name: part[:1].clone() for name, part in first.items()}

        def repeated(size: int, device: torch.device) -> Any:
            whole = {name: part.expand(size, *part.shape[1:]).clone().to(device) for name, part in sample.items()}
            return normalize(whole)

        return repeated
    side, classes = settings.last_size, len(pieces.train.classes)  # type: ignore[attr-defined]

    def noise(size: int, device: torch.device) -> Any:
        """As the loader's: 8-bit pictures go to the device, where they become floats."""
        pictures = torch.randint(256, (size, 3, side, side), dtype=torch.uint8, device=device)
        labels = torch.randint(classes, (size,), device=device)
        return normalize(pictures.contiguous(memory_format=torch.channels_last)), labels

    return noise

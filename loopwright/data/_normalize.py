"""``Normalize``: 8-bit picture batches to the floats that a network sees, on the batch's own device, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import ConfigError
from .._names import did_you_mean
from .._nested import map_nested

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalize:
    """Scale uint8 pictures to 0..1, subtract a mean and divide by a standard deviation, for each channel.

    Args:
        mean, std: one number a channel, for pictures in 0..1. The default is that of ImageNet.

    >>> normalize = Normalize(mean=(0.5,), std=(0.5,))
    >>> normalize(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ConfigError(f"Normalize: mean and std need one number a channel, std above 0. Found: {mean}, {std}")
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self._factors: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: Any) -> Any:
        """Normalise every uint8 picture batch (N, C, H, W) of C = len(mean) channels; all else passes untouched."""
        return map_nested(self._tensor, batch, Tensor)

    def inverse(self, pictures: Tensor) -> Tensor:
        """Normalised float pictures (N, C, H, W) back to uint8 ones, for looking at."""
        scale, shift = self._on(pictures.device)
        return ((pictures - shift) / scale).round_().clamp_(0, 255).to(torch.uint8)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[1] != len(self.mean):
            return tensor
        scale, shift = self._on(tensor.device)
        return tensor.to(torch.float32).mul_(scale).add_(shift)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._factors:
            mean, std = (
                torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (self.mean, self.std)
            )
            self._factors[device] = (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
        return self._factors[device]

    def __getstate__(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "_factors": {}}

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class NormalizeRoles:
    """Each part of a batch that is a mapping with a ``Normalize`` or ``ToUnit`` of its own; the others stay as they are.

    >>> roles = NormalizeRoles({"image": Normalize((0.5,), (0.5,)), "mask": None})
    >>> batch = {name: torch.zeros(1, 1, 1, 1, dtype=torch.uint8) for name in ("image", "mask")}
    >>> {name: tensor.item() for name, tensor in roles(batch).items()}
    {'image': -1.0, 'mask': 0}
    """

    def __init__(self, roles: Mapping[str, Callable[[Any], Any] | None]) -> None:
        for name, normalize in roles.items():
            if normalize is not None and not callable(normalize):
                raise ConfigError(f"normalize={{{name!r}: ...}} must be a Normalize or None. Found: {normalize!r}")
        self.roles = dict(roles)

    def __call__(self, batch: Any) -> Any:
        if not isinstance(batch, Mapping):
            raise ConfigError(f"normalize= names {', '.join(self.roles)}, but the batch is a {type(batch).__name__}")
        for name in self.roles:
            if name not in batch:
                question = did_you_mean(name, [*batch]) or f"a batch has {', '.join(map(str, batch))}"
                raise ConfigError(f"normalize= names {name!r}, which no batch has: {question}")
        return {name: self._of(name)(part) for name, part in batch.items()}

    def _of(self, name: str) -> Callable[[Any], Any]:
        return self.roles.get(name) or _unchanged

    def __repr__(self) -> str:
        return f"NormalizeRoles({self.roles})"


def _unchanged(part: Any) -> Any:
    return part

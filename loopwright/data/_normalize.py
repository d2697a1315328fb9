"""``Normalize``: 8-bit picture batches to the floats that a network sees, on the batch's own device, and back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import ConfigError
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

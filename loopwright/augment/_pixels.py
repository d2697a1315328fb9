"""Batches of pictures as tensors: what is accepted, the precision to compute in, taking and replacing samples.

Nothing here changes what it is given, and memory formats are kept: what comes channels-last leaves channels-last.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import ConfigError, DataError

_CACHED = 2**20  # values: some megabytes of float32
GRAY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision round it


def check_images(images: Any) -> None:
    """Refuse what is not a batch of pictures."""
    if not isinstance(images, Tensor):
        raise DataError(f"images must be a tensor (N, C, H, W). Found: {type(images).__name__}")
    if images.ndim != 4 or min(images.shape[1:]) < 1 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise DataError(
            f"images must be (N, C, H, W), uint8 or floating point. Found: {tuple(images.shape)} of {images.dtype}"
        )


def top(images: Tensor) -> float:
    """The brightest value of colours: 255 for uint8, else 1."""
    return 255.0 if images.dtype == torch.uint8 else 1.0


def is_channels_last(images: Tensor) -> bool:
    """Whether the memory is N, H, W, C, and not also N, C, H, W."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def as_float(images: Tensor) -> Tensor:
    """The pictures in the precision in which everything is computed."""
    return images.to(torch.float32)


def like(result: Tensor, images: Tensor) -> Tensor:
    """A float32 result in the dtype and memory format of ``images``: rounded and clamped for uint8."""
    if images.dtype == torch.uint8:
        result = result.round().clamp_(0, 255)
    return laid_out(result.to(images.dtype), images)


def laid_out(result: Tensor, images: Tensor) -> Tensor:
    """A result in the memory format of ``images``."""
    layout = torch.channels_last if is_channels_last(images) else torch.contiguous_format
    return result.contiguous(memory_format=layout)


def at_once(images: Tensor) -> int:
    """How many samples to change at a time: all, but on a processor, which is up to five times as fast in its cache."""
    return max(1, round(_CACHED / images[0].numel())) if images.device.type == "cpu" else len(images)


def take(images: Tensor, index: Tensor) -> Tensor:
    """The samples of an index (n,), in the memory format of ``images``."""
    if is_channels_last(images):
        return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return images.index_select(0, index)


def put(images: Tensor, index: Tensor, part: Tensor) -> Tensor:
    """A copy of ``images`` with the samples of an index (n,), each named once, replaced."""
    if is_channels_last(images):
        return images.permute(0, 2, 3, 1).index_copy(0, index, part.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return images.index_copy(0, index, part)


def change_some(images: Tensor, index: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change only the samples of an ascending index (n,); the others keep their bits."""
    if len(index) == 0:
        return images
    if len(index) == len(images):
        return change(images)
    return put(images, index, change(take(images, index)))


def filling(value: float | Sequence[float], channels: int, device: torch.device) -> Tensor | None:
    """The constant colour as float32 (1, C, 1, 1); None where it is black."""
    colour = [value] * channels if isinstance(value, int | float) else list(value)
    if len(colour) not in (1, channels):
        raise DataError(f"a fill of {len(colour)} numbers does not fit pictures of {channels} channels. Found: {value}")
    if not any(colour):
        return None
    # Made on the device, number by number: a copy from the host would have the device wait.
    planes = [torch.full((1, 1, 1, 1), float(v), device=device) for v in colour]
    return torch.cat(planes * (channels // len(planes)), dim=1)


def check_fill(name: str, value: Any) -> float | tuple[float, ...]:
    """A number, or one a channel."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Sequence) and value and all(isinstance(v, int | float) for v in value):
        return tuple(float(v) for v in value)
    raise ConfigError(f"{name} must be a number or one number a channel. Found: {value!r}")


def check_probability(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a probability from 0 to 1. Found: {value!r}")
    return float(value)


def check_pair(name: str, pair: Any, low: float, high: float) -> tuple[float, float]:
    """Two numbers within limits, the smaller first."""
    numbers = isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair)
    if not numbers or not low <= pair[0] <= pair[1] <= high:
        raise ConfigError(f"{name} must be two numbers from {low:g} to {high:g}, the smaller first. Found: {pair!r}")
    return float(pair[0]), float(pair[1])

"""Samples to one batch: pictures as uint8 channels-last tensors, everything else as torch collates it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from .._errors import DataError


def collate(samples: Sequence[Any]) -> Any:
    """Stack samples that are alike: pictures, tensors, arrays, numbers, and tuples or dictionaries of them.

    Pillow pictures become one uint8 tensor (N, C, H, W) whose memory is N, H, W, C ("channels last").

    >>> batch, labels = collate([(Image.new("RGB", (4, 2)), 7), (Image.new("RGB", (4, 2)), 8)])
    >>> batch.shape, batch.dtype, labels.tolist()
    (torch.Size([2, 3, 2, 4]), torch.uint8, [7, 8])
    """
    first = samples[0]
    if isinstance(first, Image.Image):
        return _stack_pictures(samples)
    if isinstance(first, Tensor):
        return _stack_tensors(samples)
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collate(column) for column in zip(*samples, strict=True)))
    if isinstance(first, list | tuple):
        return type(first)(collate(column) for column in zip(*samples, strict=True))
    return default_collate(list(samples))


def _stack_pictures(pictures: Sequence[Image.Image]) -> Tensor:
    arrays = [np.asarray(picture) for picture in pictures]
    arrays = [array[:, :, None] if array.ndim == 2 else array for array in arrays]
    _check_shapes([array.shape for array in arrays])
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked.permute(0, 3, 1, 2)


def _stack_tensors(tensors: Sequence[Tensor]) -> Tensor:
    _check_shapes([tuple(tensor.shape) for tensor in tensors])
    return default_collate(list(tensors))


def _check_shapes(shapes: Sequence[tuple[int, ...]]) -> None:
    different = sorted(set(shapes))
    if len(different) > 1:
        raise DataError(
            f"the samples of a batch differ in shape: {', '.join(map(str, different[:4]))}. Add a transform that gives "
            "one size, such as transform=lw.RandomResizedCrop(128), or a collate of your own"
        )

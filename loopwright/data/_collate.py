"""Samples to one batch: pictures as uint8 channels-last tensors, everything else as torch collates it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from .._errors import DataError


def collate(samples: Sequence[Any]) -> Any:
    """Stack samples that are alike: pictures, tensors, arrays, numbers; and tuples, dictionaries, dataclasses of them.

    Pillow pictures become one uint8 tensor (N, C, H, W) whose memory is N, H, W, C ("channels last").

    >>> batch, labels = collate([(Image.new("RGB", (4, 2)), 7), (Image.new("RGB", (4, 2)), 8)])
    >>> batch.shape, batch.dtype, labels.tolist()
    (torch.Size([2, 3, 2, 4]), torch.uint8, [7, 8])
    """
    return collate_with(samples, Image.Image | Tensor | np.ndarray, _stack)


def collate_with(samples: Sequence[Any], kinds: Any, stack: Callable[[Sequence[Any]], Any]) -> Any:
    """As ``collate``, with a function of one's own that makes a batch of leaves of some kinds."""
    first = samples[0]
    if isinstance(first, kinds):
        return stack(samples)
    if isinstance(first, Mapping):
        return {key: collate_with([sample[key] for sample in samples], kinds, stack) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collate_with(column, kinds, stack) for column in _columns(samples)))
    if isinstance(first, list | tuple):
        return type(first)(collate_with(column, kinds, stack) for column in _columns(samples))
    if is_dataclass(first):
        columns = {f.name: [getattr(sample, f.name) for sample in samples] for f in fields(first)}
        return type(first)(**{name: collate_with(column, kinds, stack) for name, column in columns.items()})
    return default_collate(list(samples))


def _stack(samples: Sequence[Any]) -> Tensor:
    if isinstance(samples[0], Image.Image):
        return _stack_pictures(samples)
    _check_shapes([tuple(sample.shape) for sample in samples])
    return default_collate([_writable(sample) for sample in samples])


def _writable(sample: Any) -> Any:
    """torch takes no array that must not be written to, such as ``np.asarray(picture)``, without a warning."""
    return sample.copy() if isinstance(sample, np.ndarray) and not sample.flags.writeable else sample


def _stack_pictures(pictures: Sequence[Image.Image]) -> Tensor:
    arrays = [np.asarray(picture) for picture in pictures]
    arrays = [array[:, :, None] if array.ndim == 2 else array for array in arrays]
    _check_shapes([array.shape for array in arrays])
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked.permute(0, 3, 1, 2)


def _columns(samples: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    lengths = sorted({len(sample) for sample in samples})
    if len(lengths) > 1:
        raise DataError(
            f"the samples of a batch hold lists or tuples of different lengths: {', '.join(map(str, lengths[:4]))}. "
            "Give a collate of your own, such as collate=list, which leaves them as they are"
        )
    return zip(*samples, strict=True)


def _check_shapes(shapes: Sequence[tuple[int, ...]]) -> None:
    different = sorted(set(shapes))
    if len(different) > 1:
        raise DataError(
            f"the samples of a batch differ in shape: {', '.join(map(str, different[:4]))}. Add a transform that gives "
            "one size, such as transform=lw.RandomResizedCrop(128), or a collate of your own"
        )

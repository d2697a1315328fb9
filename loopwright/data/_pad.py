"""``PadCollate``: samples of different sizes to one batch, padded at the right and at the bottom."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._errors import ConfigError, DataError
from ._collate import collate_with


class Padded(NamedTuple):
    """A padded batch, and where it is real: sizes, or a mask. ``run.batches`` moves and normalises it like any other."""

    data: Tensor
    sizes: Tensor  # int64 (N, 2): height and width; (N,) for sequences; with mask=True bool (N, H, W) or (N, L)


class PadCollate:
    """Stack pictures, tensors and sequences of different sizes: ``Loader(..., collate=PadCollate())``.

    What stands at their place in a batch is a ``Padded``: ``data`` and ``sizes``. That is so for every batch, also
    where all sizes are equal. Padding lies at the right and at the bottom. Pictures stay uint8 and are channels-last in
    memory.

    Args:
        fill: what padding holds; for pictures also one number a channel. (124, 116, 104) is nearly 0 after ``Normalize``.
        multiple: heights, widths and lengths are padded to a multiple of it, as networks that halve sizes need.
        mask: give a mask, true where the data are real, in place of sizes.
        sequences: pad tensors of one dimension. If not, they are stacked, and must be of one length: such as the
            multi-hot targets of ``Table``.

    Given a list of samples: pictures; tensors and arrays of (L,), (H, W) or (..., H, W); numbers and strings, which are
    collated as ``lw.collate`` does; tuples, dictionaries and dataclasses of all these.

    Raises:
        DataError: samples differ in more than height and width, or ``fill`` is no number of their kind.

    >>> batch, labels = PadCollate(multiple=4)([(Image.new("L", (5, 2)), 7), (Image.new("L", (3, 4)), 8)])
    >>> batch.data.shape, batch.sizes.tolist(), labels.tolist()
    (torch.Size([2, 1, 4, 8]), [[2, 5], [4, 3]], [7, 8])
    """

    def __init__(
        self, fill: float | Sequence[float] = 0, multiple: int = 1, mask: bool = False, *, sequences: bool = True
    ) -> None:
        if not isinstance(multiple, int) or multiple < 1:
            raise ConfigError(f"multiple must be a whole number, 1 or more. Found: {multiple!r}")
        self.fill, self.multiple, self.mask, self.sequences = fill, multiple, mask, sequences

    def __call__(self, samples: Sequence[Any]) -> Any:
        return collate_with(samples, Image.Image | Tensor | np.ndarray, self._stack)

    def __repr__(self) -> str:
        return f"PadCollate(fill={self.fill}, multiple={self.multiple}, mask={self.mask}, sequences={self.sequences})"

    def _stack(self, samples: Sequence[Image.Image | Tensor | np.ndarray]) -> Any:
        tensors = [_as_tensor(sample) for sample in samples]
        axes = min(tensors[0].ndim, 2) if self.sequences or tensors[0].ndim != 1 else 0
        _check_alike(tensors, axes)
        if not axes:
            return torch.stack(tensors)
        sizes = torch.tensor([tensor.shape[-axes:] for tensor in tensors])
        size = [-(-int(most) // self.multiple) * self.multiple for most in sizes.amax(0)]
        data = self._filled(tensors, size, isinstance(samples[0], Image.Image) or _is_channels_last(tensors[0]))
        for row, tensor in zip(data, tensors, strict=True):
            row[(..., *map(slice, tensor.shape[-axes:]))] = tensor
        return Padded(data, _mask(sizes, data.shape[-axes:]) if self.mask else sizes.squeeze(1) if axes == 1 else sizes)

    def _filled(self, tensors: list[Tensor], size: list[int], channels_last: bool) -> Tensor:
        """A batch that is all padding."""
        shape = (len(tensors), *tensors[0].shape[: tensors[0].ndim - len(size)], *size)
        memory = torch.channels_last if channels_last else torch.contiguous_format
        return torch.empty(shape, dtype=tensors[0].dtype, memory_format=memory).copy_(self._fill_of(tensors[0]))

    def _fill_of(self, tensor: Tensor) -> Tensor:
        fill = torch.tensor(self.fill, dtype=torch.float64)
        channels = tensor.shape[0] if tensor.ndim == 3 else 1
        if fill.ndim > 1 or (fill.ndim == 1 and (tensor.ndim != 3 or len(fill) != channels)):
            raise DataError(f"fill must be one number, or one for each of {channels} channels. Found: {self.fill}")
        cast = fill.to(tensor.dtype)
        if not (tensor.is_floating_point() or tensor.is_complex()) and not torch.equal(cast.double(), fill):
            raise DataError(f"fill={self.fill} is no {str(tensor.dtype).removeprefix('torch.')}, which the samples are")
        return cast.view(-1, 1, 1) if cast.ndim else cast


def _as_tensor(sample: Image.Image | Tensor | np.ndarray) -> Tensor:
    if isinstance(sample, Tensor):
        return sample.as_subclass(Tensor)
    if isinstance(sample, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(sample))
    pixels = np.array(sample)
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 3 and tensor.stride(0) == 1 and not tensor.is_contiguous()


def _check_alike(tensors: Sequence[Tensor], axes: int) -> None:
    kinds = {_kind(tensor, axes) for tensor in tensors}
    if len(kinds) > 1:
        raise DataError(f"the samples of a batch differ in more than what is padded: {', '.join(sorted(kinds)[:4])}")


def _kind(tensor: Tensor, axes: int) -> str:
    """What must be alike in a batch: "uint8 (3, *, *)"."""
    fixed = [*map(str, tensor.shape[: max(tensor.ndim - axes, 0)]), *["*"] * min(axes, tensor.ndim)]
    return f"{str(tensor.dtype).removeprefix('torch.')} ({', '.join(fixed)})"


def _mask(sizes: Tensor, padded: Sequence[int]) -> Tensor:
    """True where the data are real: bool (N, H, W) or (N, L)."""
    inside = [torch.arange(most) < sizes[:, axis, None] for axis, most in enumerate(padded)]
    return inside[0] if len(inside) == 1 else inside[0][:, :, None] & inside[1][:, None, :]

"""``ToUnit``: batches of stored pictures as the floats in 0..1 that restoration works on, on the batch's own device."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .._errors import ConfigError

Channels = Literal["first", "last"]
_MOST = {torch.uint8: 255, torch.uint16: 65535}


class ToUnit:
    """Stored numbers to float32 (N, C, H, W): uint8 by 255, uint16 by 65535, floats as they are.

    Args:
        channels: where they stand in a batch of four dimensions: ``"first"`` as in batches of pictures, ``"last"`` as in
            those of a ``Role`` of kind ``"raw"``. One of (N, H, W) has one channel.

    Other integers, such as the labels of masks, pass untouched. For a ``Loader``: ``normalize={"noisy": lw.ToUnit()}``.

    >>> ToUnit("last")(torch.full((2, 6, 8, 3), 65535, dtype=torch.uint16)).shape
    torch.Size([2, 3, 6, 8])
    """

    def __init__(self, channels: Channels = "first") -> None:
        if channels not in get_args(Channels):
            raise ConfigError(f"ToUnit: channels must be 'first' or 'last'. Found: {channels!r}")
        self.channels = channels

    def __call__(self, batch: Any) -> Any:
        if not isinstance(batch, Tensor) or batch.ndim not in (3, 4):
            return batch
        if batch.dtype not in _MOST and not batch.is_floating_point():
            return batch
        planes = batch[:, None] if batch.ndim == 3 else batch if self.channels == "first" else batch.permute(0, 3, 1, 2)
        floats = planes.to(torch.float32)
        return floats.div_(_MOST[batch.dtype]) if batch.dtype in _MOST else floats

    def __repr__(self) -> str:
        return f"ToUnit({self.channels!r})"

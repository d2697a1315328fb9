"""``BatchErase``: a random box of each picture painted over."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ._geometry import box_tries
from ._member import Batch, BatchTransform, Plan, Shape
from ._pixels import change_some, check_fill, check_pair, check_probability, filling, laid_out
from ._random import StepRandom

_TRIES = 10
_HASH = 0x45D9F3B


class BatchErase(BatchTransform):
    """Paint over a random box of each picture, with a colour or with noise.

    Args:
        p: share of the pictures.
        scale: smallest and largest share of the area that is painted over, above 0 and at most 1.
        ratio: smallest and largest width / height of the box.
        value: the colour, a number or one a channel, in the units of the images; or ``"noise"``: a number from 0 to 255
            (floats: 0 to 1) for every pixel and channel, the same on every device.

    Takes uint8 or any floats, (N, C, H, W). A picture in which ten boxes found no room, which is rare, stays whole.

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020. Ratios are drawn on a logarithmic scale, as
    torchvision does, so that upright and lying boxes are equally frequent.

    >>> import torch
    >>> images = torch.ones(1, 1, 10, 10)
    >>> 50 <= BatchErase(p=1, scale=(0.2, 0.4))(images, None, StepRandom(seed=0, step=1))[0].sum() <= 85
    tensor(True)
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | Literal["noise"] = 0.0,
    ) -> None:
        self.p = check_probability("BatchErase: p", p)
        self.scale = check_pair("BatchErase: scale", scale, 1e-9, 1)
        self.ratio = check_pair("BatchErase: ratio", ratio, 1e-9, 1e9)
        self.value: Any = value if value == "noise" else check_fill("BatchErase: value", value)

    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        drawn, chances = rng.uniform(shape.samples, _TRIES, 4), rng.uniform(shape.samples, 2)
        boxes, fits = box_tries(drawn, shape.width, shape.height, self.scale, self.ratio)
        erased = np.flatnonzero((chances[:, 0] < self.p) & fits.any(1))
        left, top, width, height = boxes[erased, fits[erased].argmax(1)].T
        keys = (chances[erased, 1] * 2**31).astype(np.int64)
        return Plan({"erased": erased, "box": np.stack([left, top, left + width, top + height], 1), "keys": keys})

    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        def paint(part: Tensor) -> Tensor:
            inside = box_mask(numbers["box"], part.shape[2], part.shape[3])
            return laid_out(torch.where(inside, self._colour(part, numbers["keys"]), part), part)

        return change_some(images, numbers["erased"], paint), labels

    def _colour(self, images: Tensor, keys: Tensor) -> Tensor:
        if self.value == "noise":
            return _noise(images, keys)
        colour = filling(self.value, images.shape[1], images.device)
        return images.new_zeros(1) if colour is None else colour.to(images.dtype)

    def __repr__(self) -> str:
        return f"BatchErase(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value!r})"


def box_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in boxes (N, 4) of left, top, right, bottom: bool (N, 1, H, W)."""
    left, top, right, bottom = boxes.view(-1, 4, 1, 1, 1).unbind(1)
    x = torch.arange(width, device=boxes.device)
    y = torch.arange(height, device=boxes.device).view(-1, 1)
    return ((x >= left) & (x < right)) & ((y >= top) & (y < bottom))


def _noise(images: Tensor, keys: Tensor) -> Tensor:
    """Values that look random: a hash of whole numbers, because a device's generator has a state and numbers of its own."""
    places = torch.arange(images[0].numel(), device=images.device)
    words = _hashed(_hashed(places) ^ keys[:, None]).view(images.shape)
    if images.dtype == torch.uint8:
        return (words >> 24).to(torch.uint8)
    return ((words >> 8) * 2.0**-24).to(images.dtype)


def _hashed(words: Tensor) -> Tensor:
    """32 bits to 32 bits, in 64, where no product overflows."""
    for _ in range(2):
        words = ((words >> 16) ^ words) * _HASH & 0xFFFFFFFF
    return (words >> 16) ^ words

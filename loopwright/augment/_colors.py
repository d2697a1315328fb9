"""Changes of colour on float32 pictures (N, C, H, W) from 0 to ``top``, each with a factor for every picture (N,).

The results are those of torchvision's and Pillow's functions of the same names, but for the rounding of 8-bit values in
between. Knows nothing about random numbers, subsets and dtypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._pixels import GRAY


def gray(x: Tensor) -> Tensor:
    """The luminance, (N, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    # A sum of products: a matrix product may be cut to half precision.
    return x[:, 0:1] * GRAY[0] + x[:, 1:2] * GRAY[1] + x[:, 2:3] * GRAY[2]


def brighten(x: Tensor, factor: Tensor, top: float) -> Tensor:
    """Towards black (0), away from it (above 1)."""
    return (x * _each(factor)).clamp_(0, top)


def saturate(x: Tensor, factor: Tensor, top: float) -> Tensor:
    """Towards the picture's own gray (0), away from it (above 1)."""
    return x if x.shape[1] == 1 else _blend(gray(x), x, factor, top)


def contrast(x: Tensor, factor: Tensor, top: float) -> Tensor:
    """Towards the mean of the picture's gray (0), away from it (above 1)."""
    return _blend(gray(x).mean((1, 2, 3), keepdim=True), x, factor, top)


def shift_hue(x: Tensor, turns: Tensor, top: float) -> Tensor:
    """Turn the hue, by -0.5 to 0.5 of the circle.

    Source: Smith, "Color gamut transform pairs", SIGGRAPH 1978; back to RGB without cases: channel = V - C * max(0, min(k,
    4 - k, 1)) with k = (n + 6 hue) mod 6 for n = 5, 3, 1.
    """
    if x.shape[1] == 1:
        return x
    red, green, blue = x.unbind(1)
    value, chroma = x.amax(1), x.amax(1) - x.amin(1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    sextant = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sextant = sextant + 6 * turns.view(-1, 1, 1)
    channels = []
    for n in (5, 3, 1):
        k = torch.remainder(sextant + n, 6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, 1).clamp_(0, top)


def sharpen(x: Tensor, factor: Tensor, top: float) -> Tensor:
    """Towards a smoothed picture (0), away from it (above 1); the outermost pixels stay."""
    if min(x.shape[2:]) < 3:
        return x
    kernel = x.new_full((x.shape[1], 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel, groups=x.shape[1])
    return _blend(smooth, x, factor, top)


def posterize(x: Tensor, bits: Tensor, top: float) -> Tensor:
    """Keep the highest 0 to 8 bits of each value."""
    levels = 2 ** _each(bits)
    width = (top + (1 if top > 1 else 0)) / levels  # 8-bit values are 256 steps, the others a unit
    return torch.minimum((x / width).floor(), levels - 1) * width


def solarize(x: Tensor, threshold: Tensor, top: float) -> Tensor:
    """Invert what is as bright as the threshold, given as a share of ``top``, or brighter."""
    return torch.where(x >= _each(threshold) * top, top - x, x)


def stretch(x: Tensor, top: float) -> Tensor:
    """Autocontrast: each channel from its own darkest to its brightest value onto the whole range."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high == low
    scale = torch.where(flat, torch.ones_like(high), top / torch.where(flat, torch.ones_like(high), high - low))
    return ((x - torch.where(flat, torch.zeros_like(low), low)) * scale).clamp_(0, top)


def equalize(x: Tensor, top: float) -> Tensor:
    """Each channel so that its 256 values are about equally frequent, by Pillow's whole-number rule."""
    count, channels, height, width = x.shape
    values = (x * (255 / top)).round().clamp_(0, 255).to(torch.int64).view(count, channels, -1)
    ones = torch.ones((), dtype=torch.int64, device=x.device).expand_as(values)
    histogram = torch.zeros(count, channels, 256, dtype=torch.int64, device=x.device).scatter_add_(2, values, ones)
    brightest = histogram.gather(2, values.amax(2, keepdim=True))
    step = (height * width - brightest) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    equal = table.gather(2, values).view_as(x) * (top / 255)
    return torch.where((step == 0).view(count, channels, 1, 1), x, equal)


def _blend(start: Tensor, x: Tensor, factor: Tensor, top: float) -> Tensor:
    return (start * (1 - _each(factor)) + x * _each(factor)).clamp_(0, top)


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)

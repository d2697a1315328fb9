"""A small U-Net for restoration and segmentation: a plain module for pictures of any size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ConfigError


class _Block(nn.Sequential):
    """Two 3 x 3 convolutions."""

    def __init__(self, inputs: int, outputs: int, norm: bool) -> None:
        layers: list[nn.Module] = []
        for number in (inputs, outputs):
            layers.append(nn.Conv2d(number, outputs, 3, padding=1, bias=not norm))
            layers += [nn.BatchNorm2d(outputs)] if norm else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """Down by halves, up again, with a bridge at each size.

    Sizes that do not divide are padded with their mirror image inside, and cut again. ``multiple`` is what they are padded
    to: parts of a picture that begin at multiples of it are computed as in the whole (``lw.tiled(..., align=)``).

    Source: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015;
    padded, with half the widths, and nearest neighbours and a convolution on the way up (Odena et al., "Deconvolution and
    checkerboard artifacts", Distill 2016).
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int, levels: int, *, norm: bool, residual: bool
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            _Block(before, after, norm) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.grow = nn.ModuleList(nn.Conv2d(2 * after, after, 3, padding=1) for after in reversed(widths[:-1]))
        self.up = nn.ModuleList(_Block(2 * after, after, norm) for after in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, out_channels, 1)
        self.residual, self.multiple = residual, 2**levels

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        padded = _padded(x, self.multiple)
        kept, y = [], padded
        for number, block in enumerate(self.down):
            y = block(F.max_pool2d(y, 2) if number else y)
            kept.append(y)
        kept.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            y = grow(F.interpolate(y, scale_factor=2.0, mode="nearest"))
            y = block(torch.cat([kept.pop(), y], dim=1))
        made = self.head(y)
        made = padded + made if self.residual else made
        return made[:, :, :height, :width]


def unet(
    in_channels: int = 3,
    out_channels: int | None = None,
    width: int = 32,
    levels: int = 3,
    norm: bool = False,
    residual: bool | None = None,
) -> UNet:
    """A U-Net from (N, in_channels, H, W) to (N, out_channels, H, W), of 1.9 million parameters by default.

    Args:
        out_channels: default ``in_channels``; the classes, for segmentation.
        width: channels at full size; each halving doubles them.
        levels: how often the size is halved.
        norm: batch norm behind each convolution: for segmentation.
        residual: add the picture to what comes out. Default: where as many channels come out as go in.

    >>> unet(1)(torch.zeros(1, 1, 37, 50)).shape
    torch.Size([1, 1, 37, 50])
    """
    outputs = in_channels if out_channels is None else out_channels
    adds = outputs == in_channels if residual is None else residual
    if adds and outputs != in_channels:
        raise ConfigError(f"unet: residual adds the picture, so {in_channels} channels come out, not {outputs}")
    return UNet(in_channels, outputs, width, levels, norm=norm, residual=adds)


def _padded(x: Tensor, multiple: int) -> Tensor:
    rows, columns = (-side % multiple for side in x.shape[2:])
    if not rows and not columns:
        return x
    mode = "reflect" if rows < x.shape[2] and columns < x.shape[3] else "replicate"
    return F.pad(x, (0, columns, 0, rows), mode=mode)

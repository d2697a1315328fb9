"""A residual network small enough to learn from a thousand pictures in a minute or two without a GPU.

Four stages of one basic block each, 0.3 million parameters at its default width, for pictures of 48 to 96 pixels.
Pictures of 224 pixels, and pretrained weights, want torchvision's or timm's models.

Sources: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016 (the block); He, Zhang, Zhang
et al., "Bag of tricks for image classification with convolutional neural networks", CVPR 2019 (the shortcut that
averages before it projects, and the last scale of each block starting at zero).
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; at the start the block is its shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    # ceil_mode: a strided convolution with padding rounds odd sizes up, and the two are added.
    pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def small_resnet(num_classes: int, width: int = 16) -> nn.Sequential:
    """A plain module from (N, 3, H, W) normalised pictures to (N, num_classes) logits.

    Args:
        width: channels of the first stage; the other three have 2, 4 and 8 times as many.

    >>> import torch
    >>> small_resnet(10)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    widths = [width, 2 * width, 4 * width, 8 * width]
    stages = [
        (f"stage{number}", BasicBlock(inputs, outputs, stride=1 if number == 1 else 2))
        for number, (inputs, outputs) in enumerate(zip([width, *widths], widths, strict=False), start=1)
    ]
    return nn.Sequential(
        OrderedDict(
            [
                ("stem", nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)),
                ("norm", nn.BatchNorm2d(width)),
                ("activation", nn.ReLU(inplace=True)),
                *stages,
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("head", nn.Linear(widths[-1], num_classes)),
            ]
        )
    )

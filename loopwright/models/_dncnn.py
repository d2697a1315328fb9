"""DnCNN: a plain network that sees the noise of a picture and takes it away."""

from torch import Tensor, nn

from .._errors import ConfigError


class DnCNN(nn.Module):
    """A picture (N, C, H, W) less what a stack of 3 x 3 convolutions makes of it.

    Every layer but the first and the last has batch norm and no bias, every layer but the last a ReLU. The receptive field
    reaches ``depth`` pixels to each side.

    Source: Zhang, Zuo, Chen, Meng and Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for image
    denoising", IEEE TIP 26(7), 2017.
    """

    def __init__(self, channels: int = 1, depth: int = 17, width: int = 64) -> None:
        super().__init__()
        if depth < 2:
            raise ConfigError(f"dncnn: depth must be 2 or more. Found: {depth}")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.noise = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1, bias=False))
        self.reach = depth
        for layer in self.noise:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


def dncnn(in_channels: int = 1, out_channels: int | None = None, depth: int = 17, width: int = 64) -> DnCNN:
    """DnCNN-S with its defaults, 0.56 million parameters; 20 layers are the paper's DnCNN-B.

    Args:
        in_channels: 1 for gray, 3 for colour.
        out_channels: as many; the picture comes out less its noise.

    >>> sum(p.numel() for p in dncnn().parameters())
    556096
    """
    if out_channels not in (None, in_channels):
        raise ConfigError(
            f"dncnn takes noise away: {in_channels} channels come out, not {out_channels}; unet can others"
        )
    return DnCNN(in_channels, depth, width)

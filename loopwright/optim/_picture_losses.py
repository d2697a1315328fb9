"""Losses between pictures, and between logits and masks: plain functions that give the mean. Knows no names and weights.

Pictures are float (N, C, H, W), about 0..1; logits are (N, C, H, W) and masks int64 (N, H, W).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ConfigError
from .._names import load_object
from .._picture_metrics import Window, similarity


def charbonnier_loss(input: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """mean(sqrt((input - target)² + epsilon²)): the absolute error, smooth where it is small.

    Source: Charbonnier, Blanc-Féraud, Aubert and Barlaud, "Two deterministic half-quadratic regularization algorithms for
    computed imaging", ICIP 1994; as a loss in Lai et al., "Deep Laplacian pyramid networks", CVPR 2017.

    >>> charbonnier_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), epsilon=0.0)
    tensor(1.)
    """
    return torch.sqrt((input - target).square() + epsilon**2).mean()


def ssim_loss(input: Tensor, target: Tensor, data_range: float = 1.0, window: Window = "gaussian") -> Tensor:
    """1 - the mean structural similarity, 0 for equal pictures; see ``ssim``. Computed in 32 bits.

    Source: Zhao, Gallo, Frosio and Kautz, "Loss functions for image restoration with neural networks", IEEE TCI 2017.

    >>> picture = torch.rand(1, 3, 16, 16)
    >>> abs(ssim_loss(picture, picture).item()) < 1e-6
    True
    """
    with torch.autocast(input.device.type, enabled=False):
        return 1 - similarity(input.float(), target.float(), data_range, window).mean()


def gradient_loss(input: Tensor, target: Tensor) -> Tensor:
    """The mean absolute error of the differences between neighbours, in both directions: it keeps edges.

    (mean|dx(input) - dx(target)| + mean|dy(input) - dy(target)|) / 2, with dx(a) = a[..., 1:] - a[..., :-1].

    Source: Mathieu, Couprie and LeCun, "Deep multi-scale video prediction beyond mean square error", ICLR 2016, section
    3.2, with alpha = 1.

    >>> gradient_loss(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    tensor(0.)
    """
    error = input - target
    return (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2


def dice_loss(input: Tensor, target: Tensor, ignore_index: int = 255, smooth: float = 1.0) -> Tensor:
    """1 - the mean over classes of 2 sum(p t) / (sum(p) + sum(t)), with p = softmax(input) and sums over the batch.

    Args:
        input: logits (N, C, H, W).
        target: labels (N, H, W).
        ignore_index: pixels of this label do not count.
        smooth: added above and below, so that a class that is nowhere and nowhere predicted costs nothing.

    Source: Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, without its squares; Sudre et al., DLMIA 2017.

    >>> logits = torch.tensor([[[[50.0]], [[-50.0]]]])
    >>> dice_loss(logits, torch.zeros(1, 1, 1, dtype=torch.int64))
    tensor(0.)
    """
    counts = target != ignore_index
    shares = input.float().softmax(dim=1) * counts[:, None]
    truth = F.one_hot(target.where(counts, 0), input.shape[1]).permute(0, 3, 1, 2) * counts[:, None]
    axes = (0, 2, 3)
    both = 2 * (shares * truth).sum(axes) + smooth
    return 1 - (both / (shares.sum(axes) + truth.sum(axes) + smooth)).mean()


def focal_loss(input: Tensor, target: Tensor, gamma: float = 2.0, ignore_index: int = 255) -> Tensor:
    """The mean of (1 - p)^gamma * -log(p) over the pixels that count, with p the probability of the true class.

    Args:
        input: logits (N, C, ...).
        target: labels (N, ...).
        gamma: 0 is cross-entropy; the more, the less easy pixels weigh.
        ignore_index: pixels of this label do not count.

    Source: Lin, Goyal, Girshick, He and Dollár, "Focal loss for dense object detection", ICCV 2017.

    >>> focal_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64), gamma=0.0)
    tensor(0.6931)
    """
    entropy = F.cross_entropy(input.float(), target, ignore_index=ignore_index, reduction="none")
    weighed = (1 - torch.exp(-entropy)) ** gamma * entropy
    return weighed.sum() / (target != ignore_index).sum().clamp(min=1)


class Perceptual(nn.Module):
    """The distance of two pictures in the features of a network of yours, which stays as it is.

    Args:
        network: a module, or the name of a function or class that gives one, ``"package.module:function"``; called with
            pictures, it gives one tensor, or several.
        distance: between features. Default: the mean absolute error.

    The network is in evaluation mode and learns nothing; its weights are not in the state of this module, so a checkpoint
    does not hold them.

    Source: Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016.

    >>> Perceptual(nn.AvgPool2d(2))(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    tensor(1.)
    """

    def __init__(self, network: nn.Module | str, distance: Callable[[Tensor, Tensor], Tensor] = F.l1_loss) -> None:
        super().__init__()
        made: Any = load_object(network)() if isinstance(network, str) else network
        if not isinstance(made, nn.Module):
            raise ConfigError(f"perceptual: network must be, or give, a torch.nn.Module. Found: {type(made).__name__}")
        # In a list it is no part of this module: not in its state, and not switched to training with it.
        self._held, self._distance = [made.requires_grad_(False).eval()], distance

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        (network,) = self._held
        with torch.no_grad():
            wanted = _several(network(target))
        found = _several(network(input))
        return torch.stack([self._distance(one, other) for one, other in zip(found, wanted, strict=True)]).sum()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Perceptual":
        """Moved to a device, the network is moved, too."""
        self._held[0]._apply(fn)
        return super()._apply(fn, recurse)


def _several(features: Any) -> list[Tensor]:
    if isinstance(features, Tensor):
        return [features]
    values: Iterable[Tensor] = features.values() if isinstance(features, dict) else features
    return list(values)

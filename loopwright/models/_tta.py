"""``TTA``: a classifier that looks at several views of each picture. Knows nothing about loops and losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ConfigError

_PLACES = {1: ("middle",), 5: ("middle", "left top", "right top", "left bottom", "right bottom")}


class TTA(nn.Module):
    """Test-time augmentation: the logarithm of the mean of a model's probabilities over views of each picture.

    What comes out takes the place of logits: its softmax is that mean, so losses and metrics take it as it is. The views
    are the same each time. ``TTA(model, flip=False)`` changes no probability.

    Args:
        model: from pictures (N, C, H, W) to logits (N, classes), in evaluation mode.
        flip: also mirrored left to right. Not for digits and letters.
        crops: 1 shows the whole picture; 5 shows the middle and the four corners, each resized to the picture's size.
        share: of the picture's height and width that each of the 5 crops has, above 0 to 1.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS
    2012, section 4.1: five crops and their reflections.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    >>> pictures = torch.rand(2, 3, 2, 2)
    >>> mean = (model(pictures).softmax(1) + model(pictures.flip(3)).softmax(1)) / 2
    >>> torch.allclose(TTA(model)(pictures).softmax(1), mean)
    True
    """

    def __init__(self, model: nn.Module, *, flip: bool = True, crops: int = 1, share: float = 0.875) -> None:
        super().__init__()
        if crops not in _PLACES:
            raise ConfigError(f"TTA: crops must be 1 or 5. Found: {crops!r}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"TTA: share must be above 0 and at most 1. Found: {share!r}")
        self.model, self.flip, self.crops, self.share = model, bool(flip), crops, float(share)

    @property
    def views(self) -> int:
        """How many views of a picture are looked at: what an evaluation costs."""
        return self.crops * (2 if self.flip else 1)

    def forward(self, pictures: Tensor) -> Tensor:
        shown = [self._crop(pictures, place) for place in _PLACES[self.crops]]
        shown += [view.flip(3) for view in shown] if self.flip else []
        # In float32 also under autocast: small probabilities matter to the loss.
        seen = torch.stack([self.model(view).float().log_softmax(1) for view in shown])
        return seen.logsumexp(0) - torch.tensor(float(len(shown))).log().item()

    def _crop(self, pictures: Tensor, place: str) -> Tensor:
        if self.crops == 1:
            return pictures
        height, width = pictures.shape[2:]
        high, wide = max(1, round(height * self.share)), max(1, round(width * self.share))
        top = 0 if "top" in place else height - high if "bottom" in place else (height - high) // 2
        left = 0 if "left" in place else width - wide if "right" in place else (width - wide) // 2
        part = pictures[:, :, top : top + high, left : left + wide]
        return F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        return f"flip={self.flip}, crops={self.crops}, share={self.share}"

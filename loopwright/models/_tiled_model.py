"""``Tiled``: a model that validates large pictures part by part. Knows no data and no tasks."""

from typing import Any

from torch import Tensor, nn

from .._tiled import check_tiles, tiled


class Tiled(nn.Module):
    """A network from pictures to pictures or logits that in evaluation mode computes them in parts, as ``tiled`` does.

    In training mode it is the model itself. Parameters and states are the model's, so save and load the model. Pictures of
    several sizes in one call, as those of a ``Role`` with ``scale``, are computed at once.

    Args:
        model: from (N, C, H, W), one or several of them, to pictures, logits, or several of such.
        tile, overlap, align: of ``tiled``. ``overlap`` is to be the reach of the model; ``align`` 2 to the number of its
            halvings.

    Raises:
        ConfigError: nothing is left of a tile inside its overlap.

    >>> import torch
    >>> smooth, picture = nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 50, 70)
    >>> torch.allclose(Tiled(smooth, tile=32, overlap=1, align=1).eval()(picture), smooth(picture), atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module, *, tile: int = 1024, overlap: int = 64, align: int = 32) -> None:
        super().__init__()
        check_tiles(tile, overlap, align)
        self.model, self.tile, self.overlap, self.align = model, tile, overlap, align
        self.train(model.training)

    def forward(self, *pictures: Tensor) -> Any:
        small = all(max(picture.shape[-2:]) <= self.tile for picture in pictures)
        alike = len({tuple(picture.shape[-2:]) for picture in pictures}) == 1
        if self.training or small or not alike:
            return self.model(*pictures)
        return tiled(self.model, pictures, tile=self.tile, overlap=self.overlap, align=self.align)

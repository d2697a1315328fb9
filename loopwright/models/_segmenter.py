"""torchvision's segmentation models by name, as plain modules from pictures to logits."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Segmenter(nn.Module):
    """One of torchvision's segmentation models, of whose outputs the logits (N, classes, H, W) are given back."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)["out"]


def segmenter_names() -> list[str]:
    """Those that torchvision has."""
    from torchvision.models import list_models, segmentation

    return list_models(module=segmentation)


def find_segmenter(name: str) -> Callable[..., Segmenter]:
    """A function that builds one, with random weights unless ``weights`` or ``weights_backbone`` say otherwise."""
    from torchvision.models import get_model_builder

    builder = get_model_builder(name)

    def build(num_classes: int = 21, weights_backbone: Any = None, **arguments: Any) -> Segmenter:
        return Segmenter(builder(num_classes=num_classes, weights_backbone=weights_backbone, **arguments))

    build.__name__ = name
    return build

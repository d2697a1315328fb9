"""The demo: the embedded photos with settings that reach a good accuracy in about two minutes on two cores."""

from collections.abc import Sequence

from .._config import load_config
from .._demo import demo_photos
from ._settings import TrainSettings


def demo_settings(overrides: Sequence[str] = ()) -> TrainSettings:
    """The settings of ``loopwright demo``, with overrides on top."""
    settings = {
        "data": str(demo_photos()),
        "run": None,
        "model": "small_resnet",
        "image_size": 64,
        "epochs": 50,
        "batch_size": 32,
        "optimizer": {"name": "AdamW", "lr": 0.01, "weight_decay": 0.05},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
        "augment": [
            {"name": "RandomResizedCrop", "scale": [0.35, 1.0]},
            {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
            {"name": "RandomGrayscale", "p": 0.2},
        ],
    }
    return load_config(settings, overrides, schema=TrainSettings)

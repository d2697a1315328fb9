"""Laws of transforms by name: what is built is what was asked for, and what is not known is refused with near names."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from loopwright._errors import ConfigError
from loopwright.data._augment import build_transform, find_transform
from loopwright.data._transforms import CenterCrop, Compose, RandomResizedCrop, apply

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


class Shifted:
    """A transform of the user's own, found as ``module:Shifted``."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, picture: Image.Image) -> Image.Image:
        return Image.fromarray(np.asarray(picture) + np.uint8(self.by))


def test_a_built_transform_is_the_one_made_by_hand() -> None:
    built = build_transform([("RandomResizedCrop", {"scale": [0.3, 1.0]})], size=16)
    by_hand = RandomResizedCrop(16, scale=(0.3, 1.0))
    for seed in range(5):
        assert built(PICTURE, random.Random(seed)).tobytes() == by_hand(PICTURE, random.Random(seed)).tobytes()


def test_several_run_in_their_order() -> None:
    built = build_transform([("RandomResizedCrop", {}), ("RandomGrayscale", {"p": 1.0}), ("ToImage", {})], size=16)
    assert isinstance(built, Compose)
    made = built(PICTURE, random.Random(0))
    assert made.shape == (3, 16, 16)
    assert torch.equal(made[0], made[2])


@pytest.mark.parametrize("steps", [[], [("none", {})], [("None", {})]])
def test_no_augmentation_is_the_central_crop(steps: list[tuple[str, dict[str, Any]]]) -> None:
    built = build_transform(steps, size=16)
    assert apply(built, PICTURE, random.Random(0)).tobytes() == CenterCrop(16)(PICTURE).tobytes()


def test_the_size_is_given_to_those_that_take_one() -> None:
    steps = [("RandomHorizontalFlip", {}), ("RandomCrop", {"pad": "reflect"})]
    assert apply(build_transform(steps, size=24), PICTURE, random.Random(0)).size == (24, 24)


def test_a_size_of_its_own_wins() -> None:
    steps = [("Resize", {"size": [8, 12]})]
    assert apply(build_transform(steps, size=24), PICTURE, random.Random(0)).size == (12, 8)


def test_the_own_names_come_before_torchvisions() -> None:
    assert find_transform("RandomResizedCrop") is RandomResizedCrop
    assert find_transform("CenterCrop") is CenterCrop
    assert find_transform("ColorJitter") is v2.ColorJitter


def test_a_transform_of_the_users_own_is_found_by_its_place() -> None:
    built = build_transform([(f"{__name__}:Shifted", {"by": 3})], size=8)
    assert np.array_equal(np.asarray(apply(built, PICTURE, random.Random(0))), np.asarray(PICTURE) + np.uint8(3))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("RandomResizeCrop", "RandomResizedCrop"),
        ("colorjitter", "did you mean 'ColorJitter'"),
        ("centercrop", "did you mean 'CenterCrop'"),
        ("zzz", "see torchvision.transforms.v2"),
        ("InterpolationMode", "there is no transform 'InterpolationMode'"),
        ("functional", "there is no transform 'functional'"),
        ("Transform", "there is no transform 'Transform'"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        build_transform([(name, {})], size=16)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (("ColorJitter", {"brightnes": 0.2}), "brightness"),
        (("RandomResizedCrop", {"scales": (0.1, 1)}), "scale"),
        (("RandomResizedCrop", {"scale": 0.5}), r"augment: RandomResizedCrop: .*scale must be two numbers"),
        (("RandomErasing", {"p": 7}), r"augment: RandomErasing: .*p"),
        (("RandomRotation", {}), "degrees"),
    ],
)
def test_wrong_arguments_are_refused_by_name(step: tuple[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_transform([step], size=16)
    assert step[0] in str(caught.value)

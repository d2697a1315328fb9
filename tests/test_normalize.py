"""Laws of ``Normalize``: the formula, there and back, and nothing but uint8 pictures is touched."""

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from loopwright._errors import ConfigError
from loopwright.data._normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize

STATISTICS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 2)), min_size=1, max_size=5)


def pictures(channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (4, channels, 6, 5), dtype=torch.uint8, generator=generator)


def test_it_is_what_torchvision_does_on_the_cpu() -> None:
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    assert torch.allclose(Normalize()(pictures()), theirs(pictures()), atol=2e-6)


@settings(deadline=None)
@given(STATISTICS)
def test_it_is_scale_shift_and_divide(statistics: list[tuple[float, float]]) -> None:
    mean, std = zip(*statistics, strict=True)
    images = pictures(len(mean))
    exact = (images.double() / 255 - torch.tensor(mean).double().view(-1, 1, 1)) / torch.tensor(std).double().view(
        -1, 1, 1
    )
    assert torch.allclose(Normalize(mean, std)(images).double(), exact, atol=1e-4, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(STATISTICS)
def test_there_and_back_is_the_same_picture(statistics: list[tuple[float, float]]) -> None:
    mean, std = zip(*statistics, strict=True)
    normalize, images = Normalize(mean, std), pictures(len(mean))
    assert torch.equal(normalize.inverse(normalize(images)), images)


def test_half_precision_goes_back_to_the_nearest_level() -> None:
    normalize = Normalize()
    back = normalize.inverse(normalize(pictures()).to(torch.bfloat16))
    assert (back.int() - pictures().int()).abs().max() <= 2


def test_the_inverse_stays_within_8_bits() -> None:
    wild = torch.tensor([-100.0, 0.0, 100.0]).view(1, 3, 1, 1)
    assert Normalize().inverse(wild).flatten().tolist() == [0, round(255 * IMAGENET_MEAN[1]), 255]


def test_the_given_pictures_are_untouched() -> None:
    images = pictures()
    normalize = Normalize()
    floats = normalize(images)
    kept = floats.clone()
    normalize.inverse(floats)
    assert torch.equal(images, pictures())
    assert torch.equal(floats, kept)


def test_channels_last_memory_stays_channels_last() -> None:
    images = pictures().contiguous(memory_format=torch.channels_last)
    made = Normalize()(images)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, Normalize()(pictures()))


@pytest.mark.parametrize(
    "untouched",
    [
        torch.rand(2, 3, 4, 4),  # normalised already
        torch.zeros(2, 3, 4, 4, dtype=torch.int64),
        torch.zeros(2, 3, 4, 4, dtype=torch.bool),
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8),  # a mask: another number of channels
        torch.zeros(2, 4, 4, dtype=torch.uint8),
        torch.zeros(2, dtype=torch.uint8),
        torch.tensor(3, dtype=torch.uint8),
        "a name",
        7,
        None,
    ],
    ids=lambda value: f"{getattr(value, 'dtype', value)}-{tuple(getattr(value, 'shape', ()))}",
)
def test_all_else_passes_untouched(untouched: Any) -> None:
    batch = {"image": pictures(), "other": [untouched]}
    made = Normalize()(batch)
    assert made["other"][0] is untouched
    assert made["image"].dtype == torch.float32


def test_every_picture_of_a_nested_batch_is_normalised() -> None:
    made = Normalize()((pictures(), {"second": [pictures(seed=1)]}))
    assert torch.equal(made[0], Normalize()(pictures()))
    assert torch.equal(made[1]["second"][0], Normalize()(pictures(seed=1)))


def test_normalising_twice_is_normalising_once() -> None:
    once = Normalize()(pictures())
    assert Normalize()(once) is once


def test_it_survives_pickling() -> None:
    normalize = Normalize((0.1, 0.2), (0.3, 0.4))
    normalize(pictures(2))
    copy = pickle.loads(pickle.dumps(normalize))
    assert repr(copy) == repr(normalize)
    assert torch.equal(copy(pictures(2)), normalize(pictures(2)))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((), ()), ((0.5,), (0.0,)), ((0.5,), (-1.0,))])
def test_wrong_statistics_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="one number a channel, std above 0"):
        Normalize(mean, std)

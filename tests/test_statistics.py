"""Laws of the mean and standard deviation: NumPy's, to the last bits, whoever reads and in whatever order."""

import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.utils.data import DataLoader, SubsetRandomSampler

import loopwright as lw


class Some:
    """Pictures of a list, as samples of (picture, label)."""

    def __init__(self, pictures: list[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.pictures[index], index


@pytest.fixture(scope="module")
def photos() -> lw.ImageFolder:
    return lw.ImageFolder(lw.demo_photos(), split="val")


def by_numpy(pictures: list[np.ndarray], scale: float = 255.0) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.concatenate([picture.reshape(-1, picture.shape[-1]) for picture in pictures]) / scale
    return pixels.mean(0), pixels.std(0)


def close(found: tuple[tuple[float, ...], tuple[float, ...]], expected: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(np.allclose(one, other, rtol=1e-10, atol=1e-14) for one, other in zip(found, expected, strict=True))


def test_the_embedded_photos_are_as_numpy_has_them(photos: lw.ImageFolder) -> None:
    found = lw.mean_std(photos)
    assert close(found, by_numpy([np.asarray(photos[index][0]) for index in range(len(photos))]))
    normalize = lw.Normalize(*found)
    assert normalize.mean == found[0] and normalize.std == found[1]


def test_normalised_by_them_the_photos_have_mean_0_and_deviation_1(photos: lw.ImageFolder) -> None:
    crop = lw.CenterCrop(32)
    normalize = lw.Normalize(*lw.mean_std(photos, transform=crop, workers=0))
    loader = lw.Loader(photos, len(photos), transform=crop, workers=0)
    pictures, _ = next(iter(loader))
    values = normalize(pictures).double()
    assert values.mean((0, 2, 3)).abs().max() < 1e-6
    assert (values.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("transform", [None, lw.CenterCrop(24), lw.RandomResizedCrop(24)])
def test_workers_and_order_change_no_bit(photos: lw.ImageFolder, transform: Any) -> None:
    part = lw.Part(photos, range(0, len(photos), 5))
    expected = lw.mean_std(part, transform=transform, workers=0)
    assert lw.mean_std(part, transform=transform, workers=1) == expected
    assert lw.mean_std(part, transform=transform, workers=2) == expected
    if not isinstance(transform, lw.RandomResizedCrop):  # which is drawn for a sample's number
        backwards = lw.Part(part, list(reversed(range(len(part)))))
        assert lw.mean_std(backwards, transform=transform, workers=0) == expected


def test_a_limit_takes_the_same_samples_each_time_spread_over_all(photos: lw.ImageFolder) -> None:
    seen: list[int] = []

    class Watched(Some):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            seen.append(index)
            return super().__getitem__(index)

    dataset = Watched([np.full((2, 2, 3), index, np.uint8) for index in range(100)])
    first = lw.mean_std(dataset, limit=20, workers=0)
    chosen = seen.copy()
    assert len(set(chosen)) == 20 and min(chosen) < 30 and max(chosen) > 70
    assert lw.mean_std(dataset, limit=20, workers=0) == first and seen[20:] == chosen
    assert close(first, by_numpy([dataset.pictures[index] for index in chosen]))
    assert lw.mean_std(dataset, limit=1000, workers=0) == lw.mean_std(dataset, workers=0)


def test_a_loader_stands_for_the_samples_of_its_first_epoch(photos: lw.ImageFolder) -> None:
    indices = list(range(0, len(photos), 4))
    loader = lw.Loader(
        photos, 16, transform=lw.RandomResizedCrop(24), sampler=SubsetRandomSampler(indices), seed=3, workers=0
    )
    pictures = [batch[0] for batch in loader.epoch_batches(0)]
    expected = by_numpy([np.asarray(torch.cat(pictures).permute(0, 2, 3, 1))])
    assert close(lw.mean_std(loader), expected)
    assert lw.mean_std(loader, workers=2) == lw.mean_std(loader)


def test_batches_of_any_iterable_are_taken_as_they_are() -> None:
    pictures = torch.rand(10, 3, 4, 5, dtype=torch.float64)
    loader = DataLoader([(picture, 0) for picture in pictures], batch_size=4)  # type: ignore[arg-type]
    assert close(lw.mean_std(loader), by_numpy([pictures.permute(0, 2, 3, 1).numpy()], 1.0))


@given(
    arrays(np.uint8, (3, 4, 5, 3)),
    st.sampled_from(
        [
            lambda a: a,
            lambda a: torch.from_numpy(a.transpose(2, 0, 1).copy()),
            Image.fromarray,
        ]
    ),
)
def test_arrays_tensors_and_pictures_are_one_exactly(stack: np.ndarray, convert: Callable[[Any], Any]) -> None:
    means, stds = lw.mean_std(Some([convert(a) for a in stack]), workers=0)
    for channel in range(3):
        values = [Fraction(int(v), 255) for v in stack[..., channel].ravel()]
        mean = sum(values) / len(values)
        assert means[channel] == float(mean)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert stds[channel] == math.sqrt(variance)


@given(arrays(np.float32, (4, 3, 4, 5), elements=st.floats(0, 1, width=32)), st.randoms())
def test_floats_are_summed_alike_in_any_order(stack: np.ndarray, rng: random.Random) -> None:
    found = lw.mean_std(Some([torch.from_numpy(a) for a in stack]), workers=0)
    shuffled = rng.sample(list(stack), len(stack))
    assert lw.mean_std(Some([torch.from_numpy(a) for a in shuffled]), workers=0) == found
    expected = by_numpy([stack.transpose(0, 2, 3, 1).astype(np.float64)], 1.0)
    assert np.allclose(found, expected, atol=1e-7)


def test_sixteen_bits_grays_and_black_and_white_have_their_own_scale() -> None:
    deep = np.array([[[0], [65535]]], np.uint16)
    assert lw.mean_std([deep], workers=0) == ((0.5,), (0.5,))
    assert lw.mean_std([deep, Image.new("L", (1, 2), 255), np.array([[False, False]])], workers=0) == ((0.5,), (0.5,))


def test_large_pictures_are_exact_too() -> None:
    picture = np.full((600, 700, 1), 65535, np.uint16)
    picture[0, 0] = 65534
    (mean,), (std,) = lw.mean_std([picture], workers=0)
    count = 600 * 700
    assert mean == float(Fraction(65535 * count - 1, 65535 * count))
    assert std == math.sqrt(Fraction(count - 1, count**2 * 65535**2))


def test_one_colour_has_no_deviation() -> None:
    assert lw.mean_std([np.full((3, 7, 9), 77, np.uint8)] * 3, workers=0) == ((77 / 255,) * 3, (0.0,) * 3)


def test_unreadable_pictures_are_left_out_where_the_dataset_says_so(tmp_path: Any) -> None:
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8), "white").save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"no picture")
    assert lw.mean_std(lw.ImageFolder(folder.parent, on_error="skip"), workers=0)[0] == (1.0, 1.0, 1.0)
    with pytest.raises(lw.DataError, match=r"bad\.png"):
        lw.mean_std(lw.ImageFolder(folder.parent), workers=0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1.5], "type float holds no picture"),
        ([{"mask": 1}], "a sample of mask has no 'image'"),
        ([torch.full((3, 2, 2), -0.1)], "floats that are not all in 0..1: is it normalised already"),
        ([torch.full((3, 2, 2), float("nan"))], "floats that are not all in 0..1"),
        ([np.zeros((3, 2, 2), np.int64)], "dtype int64 has no range"),
        ([np.zeros((2, 2, 2, 2), np.uint8)], r"shape \(2, 2, 2, 2\) is no picture"),
        ([np.zeros((3, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8)], "pictures of 3 and of 1 channels"),
        ([], "no picture to take the mean of"),
        (iter([{"label": torch.zeros(4)}]), "a batch of type dict holds no pictures"),
    ],
)
def test_what_has_no_mean_is_a_clear_error(data: Any, message: str) -> None:
    with pytest.raises(lw.DataError, match=message):
        lw.mean_std(data, workers=0)


@pytest.mark.parametrize("limit", [0, -1, 2.5])
def test_arguments_are_checked(limit: Any) -> None:
    with pytest.raises(lw.ConfigError, match="limit must be a whole number"):
        lw.mean_std([np.zeros((1, 2, 2), np.uint8)], limit=limit)
    loader = lw.Loader([np.zeros((1, 2, 2), np.uint8)], 1)
    with pytest.raises(lw.ConfigError, match="a Loader has its transform already"):
        lw.mean_std(loader, transform=lw.CenterCrop(2))
    with pytest.raises(lw.ConfigError, match="are for datasets"):
        lw.mean_std(iter([]), limit=1)

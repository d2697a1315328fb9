"""Laws of degradations: pure functions of (seed, epoch, sample), true to their names, in any engine, cached or packed."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import loopwright as lw
from loopwright._errors import ConfigError, DataError
from loopwright._seed import SampleRandom

STEPS = [lw.Blur((0.3, 1.5)), lw.AddNoise((0, 55)), lw.JPEG((30, 90))]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos in one folder."""
    root = tmp_path_factory.mktemp("clean")
    for number, path in enumerate(sorted(lw.demo_photos().rglob("*.jpg"))[::90][:12]):
        Image.open(path).save(root / f"{number:02}.png")
    return root


def pixels(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def loader(data: Any, workers: int = 0, **options: Any) -> lw.Loader:
    return lw.Loader(
        data, 5, transform=lw.RandomCrop(16, turn=True), sample_transform=lw.Degrade(STEPS), shuffle=True, seed=3,
        workers=workers, normalize={"target": lw.ToUnit(), "input": lw.ToUnit()}, **options,
    )  # fmt: skip


def epoch(made: lw.Loader, number: int = 0) -> list[dict[str, torch.Tensor]]:
    batches = list(made.epoch_batches(number))
    made.close()
    return batches


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
    )


def test_the_noise_has_its_sigma_and_is_neither_clipped_nor_rounded() -> None:
    gray = np.full((200, 200, 3), 0.02, np.float32)
    noise = lw.AddNoise(25)(gray, SampleRandom(0, 0, 1)) - gray
    assert abs(noise.std() * 255 - 25) < 0.2
    assert abs(noise.mean()) < 1e-3
    assert noise.min() < -0.1
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.02  # channels are independent


def test_a_blind_sigma_is_even_over_its_range() -> None:
    black = np.zeros((40, 40, 1), np.float32)
    found = [lw.AddNoise((0, 55))(black, SampleRandom(0, 0, i)).std() * 255 for i in range(300)]
    assert min(found) < 3
    assert max(found) > 52
    assert abs(np.mean(found) - 27.5) < 3


def test_a_blur_keeps_the_mean_and_spreads_a_point() -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    made = lw.Blur(2.0)(point, random.Random(0))[:, :, 0]
    y, x = np.indices(made.shape)
    assert made.sum() == pytest.approx(1, abs=1e-5)
    assert ((x - 20) ** 2 * made).sum() == pytest.approx(4, rel=0.03)  # the variance of the kernel
    assert ((y - 20) ** 2 * made).sum() == pytest.approx(4, rel=0.03)
    assert np.array_equal(lw.Blur(0)(point, random.Random(0)), point)
    flat = np.full((5, 7, 2), 0.25, np.float32)
    assert np.allclose(lw.Blur(3)(flat, random.Random(0)), 0.25, atol=1e-6)  # also where the kernel is wider


def test_a_blur_equals_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    given_pixels = pixels()
    expected = ndimage.gaussian_filter(given_pixels, (1.3, 1.3, 0), mode="reflect", truncate=4.0)
    assert np.allclose(lw.Blur(1.3)(given_pixels, random.Random(0)), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downscaling_is_bicubic_with_antialiasing_as_pillows(factor: int) -> None:
    gray = pixels(factor * 12, factor * 15, 1)
    made = lw.Downscale(factor)(gray, random.Random(0))
    expected = np.asarray(Image.fromarray(gray[:, :, 0], "F").resize((15, 12), Image.Resampling.BICUBIC))
    assert made.shape == (12, 15, 1)
    assert np.allclose(made[:, :, 0], expected, atol=1e-4)
    assert lw.Downscale(factor, enlarge=True)(gray, random.Random(0)).shape == gray.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_a_file_would_hold(channels: int) -> None:
    given_pixels = pixels(channels=channels)
    stored = np.rint(given_pixels * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(stored.squeeze()).save(file, "JPEG", quality=37)
    expected = np.asarray(Image.open(file)).reshape(stored.shape)
    made = lw.JPEG(37)(given_pixels, random.Random(0))
    assert np.array_equal(np.rint(made * 255).astype(np.uint8), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 99), st.integers(0, 10**6))
def test_what_is_drawn_is_a_function_of_seed_epoch_and_sample(seed: int, number: int, index: int) -> None:
    picture = Image.fromarray((pixels() * 255).astype(np.uint8))
    degrade = lw.Degrade(STEPS)
    first = degrade({"target": picture}, SampleRandom(seed, number, index))["input"]
    degrade({"target": picture}, SampleRandom(seed, number, index + 1))
    assert torch.equal(first, degrade({"target": picture}, SampleRandom(seed, number, index))["input"])
    assert not torch.equal(first, degrade({"target": picture}, SampleRandom(seed, number + 1, index))["input"])


def test_workers_caches_and_packs_change_nothing(clean: Path, tmp_path: Path) -> None:
    pictures = lw.PairedFolders(clean, target=".")
    expected = epoch(loader(pictures), 1)
    assert expected[0]["input"].shape == (5, 3, 16, 16)
    assert expected[0]["target"].dtype == torch.uint8
    for workers in (1, 2):
        assert same(epoch(loader(pictures, workers), 1), expected)
    for where in ("memory", tmp_path / "cache"):
        cached = lw.Cached(pictures, where)
        for _ in range(2):  # cold, then kept
            assert same(epoch(loader(cached), 1), expected)
        assert cached.report().samples == len(pictures)
    assert not same(epoch(loader(pictures), 0), expected)


def test_a_pack_of_clean_pictures_is_a_data_set_of_pairs_too(tmp_path: Path) -> None:
    photos = lw.Part(lw.ImageFolder(lw.demo_photos(), split="val"), range(0, 240, 20))
    packed = lw.pack(photos, tmp_path / "val.pack", progress=False)
    assert same(epoch(loader(packed)), epoch(loader(photos)))


def test_with_a_fixed_seed_each_epoch_and_order_is_the_same(clean: Path) -> None:
    pictures = lw.PairedFolders(clean, target=".")
    fixed = lw.Degrade([lw.AddNoise(25)], fixed=1)
    loaders = [lw.Loader(data, 1, sample_transform=fixed, workers=0)
               for data in (pictures, lw.Part(pictures, range(11, -1, -1)))]  # fmt: skip
    first, again = ([b["input"] for b in loaders[0].epoch_batches(number)] for number in (0, 5))
    backwards = [b["input"] for b in loaders[1].epoch_batches(0)][::-1]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, again, backwards, strict=True))
    other = lw.Degrade([lw.AddNoise(25)], fixed=2)(pictures[0], random.Random(0))["input"]
    assert not torch.equal(other, first[0][0])


def test_what_does_not_divide_is_cut_off_the_clean_picture() -> None:
    picture = Image.fromarray((pixels(25, 34) * 255).astype(np.uint8))
    made = lw.Degrade([lw.Downscale(4)])({"target": picture}, random.Random(0))
    assert made["target"].size == (32, 24)
    assert made["input"].shape == (3, 6, 8)


def test_sixteen_bits_and_floats_keep_their_depth() -> None:
    for array in (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000, pixels(6, 8, 3)):
        made = lw.Degrade([])({"target": array}, random.Random(0))
        assert np.array_equal(made["target"], array)
        scale = 65535 if array.dtype == np.uint16 else 1
        expected = torch.from_numpy(array.astype(np.float32).reshape(6, 8, -1) / np.float32(scale)).permute(2, 0, 1)
        assert torch.equal(made["input"], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lw.AddNoise(-1), "AddNoise: sigma .* 0 or more"),
        (lambda: lw.AddNoise((5, 2)), "the least and the most"),
        (lambda: lw.JPEG(0), "quality .* 1 to 100"),
        (lambda: lw.Downscale(1), "2 or more"),
        (lambda: lw.Degrade([], source="a", into="a"), "a name of its own"),
        (lambda: lw.build_degradation("nois"), "did you mean 'noise'"),
        (lambda: lw.build_degradation("noise", sigm=3), "did you mean 'sigma'"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_missing_role_is_named() -> None:
    with pytest.raises(DataError, match="no 'target'"):
        lw.Degrade([])({"targets": 1}, random.Random(0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_stored_numbers_become_shares(dtype: torch.dtype) -> None:
    most = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    numbers = (torch.rand(2, 4, 5, 3) * most).to(torch.float32)
    numbers = (numbers.round() if most > 1 else numbers).to(dtype)
    made = lw.ToUnit("last")(numbers)
    assert torch.equal(made, numbers.to(torch.float32).permute(0, 3, 1, 2) / most)
    assert lw.ToUnit()(torch.full((1, 6, 7), 3)).dtype == torch.int64  # labels pass
    assert lw.ToUnit()(torch.full((1, 6, 7), 255, dtype=torch.uint8)).shape == (1, 1, 6, 7)

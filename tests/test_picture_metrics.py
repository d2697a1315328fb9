"""PSNR, SSIM and MAE are scikit-image's, over any picture, size and range."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loopwright as lw
from loopwright._errors import DataError

measured = pytest.importorskip("skimage.metrics")
PICTURES = st.tuples(
    st.integers(0, 2**31), st.integers(11, 40), st.integers(11, 40), st.sampled_from([1, 3]),
    st.sampled_from([1.0, 255.0, 65535.0, 0.25]), st.floats(0.001, 1.0),
)  # fmt: skip


def pair(seed: int, height: int, width: int, channels: int, data_range: float, share: float) -> tuple[Any, Any]:
    """A picture and one that differs by a share of noise: (H, W, C) float64."""
    rng = np.random.default_rng(seed)
    x = rng.random((height, width, channels))
    y = (1 - share) * x + share * rng.random((height, width, channels))
    return x * data_range, y * data_range


def batch(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


@settings(deadline=None, max_examples=60)
@given(PICTURES)
def test_they_equal_scikit_images(case: Any) -> None:
    x, y = pair(*case)
    data_range = case[4]
    given_pair = batch(x), batch(y), data_range
    theirs = measured.peak_signal_noise_ratio(y, x, data_range=data_range)
    assert lw.psnr(*given_pair).item() == pytest.approx(theirs, rel=1e-6)
    options = {"data_range": data_range, "channel_axis": -1}
    assert lw.ssim(*given_pair).item() == pytest.approx(measured.structural_similarity(x, y, **options), abs=1e-6)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = measured.structural_similarity(x, y, **options, **gaussian)
    assert lw.ssim(*given_pair, window="gaussian").item() == pytest.approx(theirs, abs=1e-6)
    assert lw.mae(*given_pair).item() == pytest.approx(np.abs(x - y).mean() / data_range, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_a_border_is_left_out_and_the_luminance_is_scikit_images(seed: int, border: int) -> None:
    color = pytest.importorskip("skimage.color")
    x, y = pair(seed, 24, 31, 3, 1.0, 0.3)
    inner = [z[border:-border, border:-border] for z in (x, y)]
    gray = [color.rgb2ycbcr(z)[:, :, 0] / 255 for z in inner]
    theirs = measured.peak_signal_noise_ratio(*gray, data_range=1.0)
    assert lw.psnr(batch(x), batch(y), border=border, luminance=True).item() == pytest.approx(theirs, rel=1e-6)
    theirs = measured.structural_similarity(*gray, data_range=1.0)
    assert lw.ssim(batch(x), batch(y), border=border, luminance=True).item() == pytest.approx(theirs, abs=1e-6)
    assert torch.allclose(lw.luminance(batch(x))[0, 0], torch.from_numpy(color.rgb2ycbcr(x)[:, :, 0] / 255))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_eight_bits_are_measured_as_eight_bits(seed: int) -> None:
    x, y = ((255 * z).astype(np.uint8) for z in pair(seed, 20, 20, 1, 1.0, 0.2))
    theirs = measured.peak_signal_noise_ratio(y, x)
    assert lw.psnr(batch(x), batch(y), 255).item() == pytest.approx(theirs, rel=1e-6)
    written = lw.quantized(batch(x).double() / 255)
    assert torch.equal((written * 255).round().to(torch.uint8), batch(x))


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(DataError, match="a border of 4 pixels leaves nothing"):
        lw.psnr(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), border=4)
    with pytest.raises(DataError, match="that of RGB pictures"):
        lw.psnr(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), luminance=True)
    with pytest.raises(DataError, match="at least 11"):
        lw.ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), window="gaussian")

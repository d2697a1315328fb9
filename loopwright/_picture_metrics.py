"""Metrics over pictures: PSNR, SSIM and MAE, one value a picture, as papers on restoration compute them.

Knows nothing of runs, batches that differ in size, and classes. Nothing synchronises the device.

What papers differ in is said by arguments: the range of the numbers, how much of the border is left out, and whether all
channels count or the luminance alone. What is measured is the tensor as it is given: clip and round it first where a paper
measures the 8-bit pictures that it would save.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ._errors import DataError

Window = Literal["uniform", "gaussian"]
_REACH, _SIGMA = 5, 1.5  # of the Gaussian window: 11 x 11
_LUMINANCE = (65.481, 128.553, 24.966)  # of R, G and B in 0..1: Y in 16..235, ITU-R BT.601


def psnr(
    predicted: Tensor, target: Tensor, data_range: float = 1.0, *, border: int = 0, luminance: bool = False
) -> Tensor:
    """Peak signal-to-noise ratio of each picture in decibels, 10 log10(data_range² / mean squared error): (N,).

    Args:
        predicted: (N, ...), not clipped here.
        target: of the same shape. A picture equal to its target has an infinite ratio.
        data_range: the largest minus the smallest possible value; 255 for uint8.
        border: how many pixels of each edge of (N, C, H, W) are left out; papers on super-resolution leave out as many as
            the factor.
        luminance: of RGB pictures compare ``luminance`` alone, as papers on super-resolution do.

    Raises:
        DataError: the shapes differ, or integers come without their range.

    >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
    tensor([20.])
    """
    predicted, target = _comparable(predicted, target, data_range, border, luminance)
    error = (predicted - target).square().flatten(1).mean(dim=1)
    return (10 * torch.log10(data_range**2 / error)).float()


def mae(
    predicted: Tensor, target: Tensor, data_range: float = 1.0, *, border: int = 0, luminance: bool = False
) -> Tensor:
    """Mean absolute error of each picture, as a share of ``data_range``: (N,). The arguments are those of ``psnr``.

    >>> mae(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25))
    tensor([0.2500])
    """
    predicted, target = _comparable(predicted, target, data_range, border, luminance)
    return ((predicted - target).abs().flatten(1).mean(dim=1) / data_range).float()


def ssim(
    predicted: Tensor,
    target: Tensor,
    data_range: float = 1.0,
    *,
    window: Window = "uniform",
    border: int = 0,
    luminance: bool = False,
) -> Tensor:
    """Structural similarity of each picture, at most 1: (N,).

    Windows lie wholly inside the picture; channels are averaged.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13(4), 2004.

    Args:
        predicted: (N, C, H, W), H and W at least 7, or 11 with the Gaussian window, without the border.
        target: of the same shape.
        data_range: the largest minus the smallest possible value; 255 for uint8.
        window: ``"uniform"``: 7 x 7 with the covariances of a sample, the defaults of scikit-image's
            ``structural_similarity``. ``"gaussian"``: 11 x 11 with a standard deviation of 1.5, as in the paper above and
            in most tables; scikit-image's with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.
        border, luminance: of ``psnr``.

    Raises:
        DataError: the shapes differ or are too small, or integers come without their range.

    >>> picture = torch.rand(2, 3, 16, 16)
    >>> ssim(picture, picture)
    tensor([1., 1.])
    """
    if window not in get_args(Window):
        raise DataError(f"ssim: window must be 'uniform' or 'gaussian'. Found: {window!r}")
    least = 7 if window == "uniform" else 2 * _REACH + 1
    if predicted.ndim != 4 or min(predicted.shape[2:]) - 2 * border < least:
        raise DataError(f"ssim needs (N, C, H, W) with H and W at least {least}, got {tuple(predicted.shape)}")
    x, y = _comparable(predicted, target, data_range, border, luminance)
    return similarity(x, y, data_range, window).flatten(1).mean(dim=1).float()


def similarity(x: Tensor, y: Tensor, data_range: float = 1.0, window: Window = "uniform") -> Tensor:
    """The structural similarity at each place of the window, in the precision of the pictures: (N, C, H - k, W - k)."""
    mean = _uniform_mean if window == "uniform" else _gaussian_mean
    sample = 49 / 48 if window == "uniform" else 1.0
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (mean(z) for z in (x, y, x * x, y * y, x * y))
    variances = sample * (mean_xx - mean_x**2 + mean_yy - mean_y**2)
    covariance = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return alike / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))


def luminance(pictures: Tensor, data_range: float = 1.0) -> Tensor:
    """The luminance of RGB pictures (N, 3, H, W), as (N, 1, H, W): 16/255 to 235/255 of the range.

    Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255 for R, G and B in 0..1, ITU-R BT.601: MATLAB's ``rgb2ycbcr`` and
    scikit-image's.

    >>> round(luminance(torch.ones(1, 3, 1, 1)).item() * 255, 3)
    235.0
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise DataError(f"the luminance is that of RGB pictures (N, 3, H, W), got {tuple(pictures.shape)}")
    weights = torch.tensor(_LUMINANCE, dtype=pictures.dtype, device=pictures.device) / 255
    return (pictures * weights[:, None, None]).sum(dim=1, keepdim=True) + 16 / 255 * data_range


def quantized(pictures: Tensor, levels: int = 255) -> Tensor:
    """Pictures as they would be written: clipped to 0..1, and rounded to one of ``levels`` + 1 values.

    Papers that measure saved 8-bit pictures measure this.

    >>> quantized(torch.tensor([-0.2, 0.501, 1.5])) * 255
    tensor([  0., 128., 255.])
    """
    return (pictures.float().clamp(0, 1) * levels).round() / levels


def _uniform_mean(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, 7, stride=1)


def _gaussian_mean(pictures: Tensor) -> Tensor:
    places = torch.arange(-_REACH, _REACH + 1, dtype=pictures.dtype, device=pictures.device)
    taps = torch.exp(-0.5 * (places / _SIGMA) ** 2)
    taps = (taps / taps.sum()).reshape(1, 1, 1, -1)
    planes = pictures.flatten(0, 1)[:, None]
    made = F.conv2d(F.conv2d(planes, taps), taps.transpose(2, 3))
    return made.reshape(*pictures.shape[:2], *made.shape[2:])


def _comparable(
    predicted: Tensor, target: Tensor, data_range: float, border: int, of_luminance: bool
) -> tuple[Tensor, Tensor]:
    """Both in a precision in which neither uint8 wraps round nor variances cancel; what counts of them."""
    if predicted.shape != target.shape or predicted.ndim < 2:
        raise DataError(
            "predicted and target must be batches (N, ...) of one shape, "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    for what, tensor in (("predicted", predicted), ("target", target)):
        if data_range == 1.0 and not tensor.is_floating_point():
            raise DataError(f"{what} is of dtype {tensor.dtype}: give its data_range, 255 for uint8")
    precise = torch.float32 if predicted.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    both = _inside(predicted, border).to(precise), _inside(target, border).to(precise)
    return (luminance(both[0], data_range), luminance(both[1], data_range)) if of_luminance else both


def _inside(pictures: Tensor, border: int) -> Tensor:
    if not border:
        return pictures
    if border < 0 or pictures.ndim != 4 or min(pictures.shape[2:]) <= 2 * border:
        raise DataError(f"a border of {border} pixels leaves nothing of pictures {tuple(pictures.shape)}")
    return pictures[:, :, border:-border, border:-border]

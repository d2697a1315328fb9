"""What the network sees: finite, of a sane range, not scrambled, and alike in both splits. Looks at tensors only."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._subject import FirstView
from ._verdict import CannotLook, Verdict, failed, passed, warning

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.InstanceNorm1d)
_LARGE, _HUGE = 4.0, 12.0  # of mean or standard deviation: standardised data have 0 and 1, bytes 120 and 70
_TINY = 0.02  # standard deviation: divided by 255 twice
_LOWEST_GAIN = 0.04  # how much better pixels C apart must agree than neighbours, to be called interleaved
_SIDE = 12  # pixels: smaller pictures have no texture to judge


def finite(tensors: Sequence[tuple[str, Tensor]]) -> Verdict:
    """Whether there is a NaN or infinity in what was computed so far."""
    for what, tensor in tensors:
        bad = int((~torch.isfinite(tensor.float())).sum())
        if bad:
            return failed(
                "finite", f"{bad} of {tensor.numel()} values of {what} are NaN or infinite",
                "find where it comes from: torch.autograd.set_detect_anomaly(True), logarithms and divisions by 0 first",
                what=what, values=bad,
            )  # fmt: skip
    return passed("finite", "no NaN and no infinity in " + ", ".join(what for what, _ in tensors))


def input_range(view: FirstView) -> Verdict:
    """Mean and standard deviation of what the first layer with parameters gets."""
    name, seen = "input range", view.tensor
    if not seen.is_floating_point():
        return passed(name, f"the first layer, {view.name}, gets whole numbers: indices")
    mean, std = float(seen.mean()), float(seen.std())
    numbers = {
        "mean": mean, "std": std, "min": float(seen.min()), "max": float(seen.max()), "layer": view.name,
        "channels": [[float(c.mean()), float(c.std())] for c in seen.transpose(0, 1)][:16] if seen.ndim > 1 else [],
    }  # fmt: skip
    said = (
        f"{view.name} sees mean {mean:.3g}, standard deviation {std:.3g}, {numbers['min']:.3g} to {numbers['max']:.3g}"
    )
    if isinstance(view.layer, _NORMS):
        return passed(name, f"{said}; it is a norm, to which the range is all the same", **numbers)
    if std == 0:
        return failed(name, f"{said}: all inputs are the same number", "look at the data and the sheet", **numbers)
    if abs(mean) > _HUGE or std > _HUGE:
        bytes_ = numbers["min"] >= 0 and 200 < numbers["max"] <= 255
        return failed(
            name, said + (": bytes, 0 to 255, that nobody scaled" if bytes_ else ": inputs are not normalised"),
            "subtract the mean and divide by the standard deviation: normalize=lw.Normalize() for uint8 pictures",
            **numbers,
        )  # fmt: skip
    if std < _TINY and abs(mean) < 1:
        return failed(
            name, f"{said}: nearly nothing is left of the inputs", "are they divided by 255 twice?", **numbers
        )
    if abs(mean) > _LARGE or std > _LARGE:
        return warning(name, said, "standardise the inputs: mean 0 and standard deviation 1", **numbers)
    return passed(name, said, **numbers)


def coherent(views: Sequence[tuple[str, Tensor]]) -> Verdict:
    """Whether pictures are pictures: neighbouring pixels agree better than those that lie a few apart.

    Pixels in the order (H, W, C) that are viewed as (C, H, W) instead of permuted alternate between channels along a row,
    and between parts of the picture from row to row: pixels C apart agree better than neighbours.
    """
    name, told, numbers = "pictures", [], {}
    pictures = [(what, t) for what, t in views if t.ndim == 4 and t.is_floating_point() and min(t.shape[-2:]) >= _SIDE]
    if not pictures:
        raise CannotLook("there are no pictures of 12 pixels and more, (N, C, H, W), to look at")
    for what, tensor in pictures:
        down, across = (_agreement(tensor, axis) for axis in (-2, -1))
        numbers[what] = {"down": down, "across": across}
        for direction, found in (("below each other", down), ("beside each other", across)):
            better = max(range(1, len(found)), key=lambda lag: found[lag])
            if found[better] > found[0] + _LOWEST_GAIN and found[better] > 0.2:
                return failed(
                    name,
                    f"{what} are scrambled: pixels {better + 1} apart agree better ({found[better]:.2f}) than those "
                    f"{direction} ({found[0]:.2f}), as after view or reshape of (H, W, C) to (C, H, W)",
                    "use permute or transpose where axes change places; view and reshape only cut the memory anew",
                    **numbers,
                )  # fmt: skip
        told.append(f"{what} {down[0]:.2f} down, {across[0]:.2f} across")
        if max(down[0], across[0]) < 0.1 and float(tensor.std()) > 0:
            return warning(
                name, f"neighbouring pixels of {what} have nothing in common: {told[-1]}",
                "look at the sheet: are these pictures?", **numbers,
            )  # fmt: skip
    return passed(name, f"neighbouring pixels agree: {'; '.join(told)} (1 is equal)", **numbers)


def _agreement(pictures: Tensor, axis: int) -> list[float]:
    """The correlation of pixels 1, 2, 3 and 4 apart."""
    pictures = pictures[:64].float()
    centred = pictures - pictures.mean((-2, -1), keepdim=True)
    length, found = pictures.shape[axis], []
    for lag in (1, 2, 3, 4):
        one, other = centred.narrow(axis, 0, length - lag), centred.narrow(axis, lag, length - lag)
        scale = (one.square().sum() * other.square().sum()).sqrt()
        found.append(float((one * other).sum() / scale) if scale > 0 else 0.0)
    return found


def splits_alike(train: Sequence[Tensor], val: Sequence[Tensor]) -> Verdict:
    """Whether validation is shown as training is: the mean and spread of each channel, and the kind of its numbers."""
    name = "splits alike"
    numbers: dict[str, list[float]] = {}
    said = "inputs are of one kind in both splits"
    for ours, theirs in zip(train, val, strict=False):
        if ours.dtype != theirs.dtype:
            return failed(
                name, f"inputs are {_kind(ours)} in training and {_kind(theirs)} in validation",
                "give both splits the same normalisation", **numbers,
            )  # fmt: skip
        if ours.ndim != theirs.ndim or (ours.ndim > 1 and ours.shape[1] != theirs.shape[1]):
            return failed(
                name, f"inputs are {tuple(ours.shape)} in training and {tuple(theirs.shape)} in validation",
                "give both splits the same transforms, up to their randomness",
            )  # fmt: skip
        if not ours.is_floating_point() or ours.ndim < 2:
            continue
        (mean, std), (other_mean, other_std) = _moments(ours), _moments(theirs)
        apart = float(((mean - other_mean).abs() / (std + 1e-9)).max())
        ratio = float((other_std / (std + 1e-9)).log().abs().max())
        numbers = {"apart": [apart], "ratio": [math.exp(min(ratio, 50.0))]}
        said = (
            f"training has mean {_short(mean)} and standard deviation {_short(std)}, validation {_short(other_mean)} and "
            f"{_short(other_std)}"
        )
        if ours.ndim == 4 and (apart > 1.5 or ratio > math.log(3)):
            return failed(name, said, "normalise both splits by the same mean and standard deviation", **numbers)
        if ours.ndim == 4 and (apart > 0.75 or ratio > math.log(1.8)):
            return warning(name, said, "are both splits normalised alike, and of one kind of pictures?", **numbers)
    return passed(name, said, **numbers)


def _moments(tensor: Tensor) -> tuple[Tensor, Tensor]:
    channels = tensor.float().transpose(0, 1).flatten(1)
    return channels.mean(1), channels.std(1)


def _short(values: Tensor) -> str:
    return "/".join(f"{float(value):.2g}" for value in values[:3]) + ("/..." if len(values) > 3 else "")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

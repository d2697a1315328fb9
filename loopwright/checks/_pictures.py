"""The sheet: pictures as the network sees them, put back into what eyes can see, with their labels. Judges nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data._normalize import Normalize
from ._feed import Feed, samples_of, selected
from ._subject import Subject
from ._verdict import CannotLook

_EACH = {"train": 24, "val": 16}


@dataclass(frozen=True)
class Seen:
    """A picture for the sheet."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    caption: str
    split: str


def seen_pictures(subject: Subject, feed: Feed, batch: Any, names: Sequence[str]) -> list[Seen]:
    """Of one batch what the first layer gets, else the inputs, and the targets where these are pictures too."""
    count = min(_EACH[feed.what], samples_of(batch))
    batch = selected(batch, range(0, samples_of(batch), max(1, samples_of(batch) // count)))
    view = subject.first_view(batch)
    candidates = [view.tensor] if view is not None else []
    shown = next((t for t in (*candidates, *subject.inputs(batch)) if _is_pictures(t, samples_of(batch))), None)
    if shown is None:
        return []
    pixels = _visible(shown, feed.normalize)[:count]
    targets, captions = [], [""] * count
    try:
        target = subject.target(batch)
    except CannotLook:
        target = None
    if target is not None and _is_pictures(target, samples_of(batch)) and target is not shown:
        targets = list(_visible(target, feed.normalize)[:count])
    elif target is not None:
        captions = [_caption(value, names) for value in target[:count]]
    found = []
    for number, picture in enumerate(pixels):
        found.append(Seen(picture, f"{feed.what} {captions[number]}".strip(), feed.what))
        if targets:
            found.append(Seen(targets[number], "target", feed.what))
    return found[: _EACH[feed.what]]


def _is_pictures(tensor: Tensor, samples: int) -> bool:
    return (
        tensor.ndim == 4 and tensor.shape[0] == samples and min(tensor.shape[-2:]) >= 4 and tensor.dtype != torch.int64
    )


def _visible(pictures: Tensor, normalize: Any) -> np.ndarray:
    """uint8 (N, H, W, 3): un-normalised where it is known how, else each channel spread from its 1st to 99th percentile."""
    pictures = pictures.detach().float().cpu()
    if pictures.shape[1] not in (1, 3):
        pictures = pictures[:, :1]
    if isinstance(normalize, Normalize) and len(normalize.mean) == pictures.shape[1] and pictures.min() < 0:
        pixels = normalize.inverse(pictures)
    else:
        low, high = _range(pictures)
        pixels = ((pictures - low) / (high - low + 1e-9) * 255).clamp(0, 255).to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def _range(pictures: Tensor) -> tuple[float, float]:
    lowest, highest = float(pictures.min()), float(pictures.max())
    if lowest >= 0 and highest <= 255:
        return 0.0, 1.0 if highest <= 1 else 255.0
    values = pictures.flatten()[:: max(1, pictures.numel() // 100_000)]
    return float(values.quantile(0.01)), float(values.quantile(0.99))


def _caption(value: Tensor, names: Sequence[str]) -> str:
    if value.ndim == 0 and not value.is_floating_point() and 0 <= int(value) < len(names):
        return names[int(value)]
    if value.numel() == 1:
        return f"{float(value):.3g}"
    marks = value.flatten()
    if bool(((marks == 0) | (marks == 1)).all()):
        on = [int(place) for place in marks.nonzero()[:, 0]]
        return ", ".join(names[place] if place < len(names) else str(place) for place in on) or "none"
    return "/".join(f"{float(number):.2g}" for number in marks[:3])
